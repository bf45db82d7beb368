"""Packet filter rules as text: what loses the packets of a link, and what brings them back."""

from collections.abc import Mapping, Sequence

from harness.protocols import Link

# An own chain, so that undoing is deleting it, whatever it holds.
_CHAIN = "DRILL"


def rules(
    links: Sequence[Link], addresses: Mapping[str, str], *, dark: bool, loss: float = 0.0
) -> str:
    """Return a script for `iptables-restore --noflush` in one machine's network namespace.

    Args:
        links: the cuts whose source is this machine.
        addresses: of every machine in the cluster.
        dark: lose every packet in both directions, as a machine without power does.
        loss: lose this share of the packets in both directions.

    `lo` is spared: losing it too would be another failure than the one meant (traps 5).
    """
    lines = ["*filter", f":{_CHAIN} - [0:0]", f":{_CHAIN}-IN - [0:0]"]
    if dark:
        lines += [f"-A {_CHAIN} ! -o lo -j DROP", f"-A {_CHAIN}-IN ! -i lo -j DROP"]
    for link in links:
        lines += [
            f"-A {_CHAIN} -d {addresses[link.destination]} {rule}" for rule in _verdicts(link)
        ]
    if loss:
        chance = f"-m statistic --mode random --probability {loss:.4f} -j DROP"
        lines += [f"-A {_CHAIN} ! -o lo {chance}", f"-A {_CHAIN}-IN ! -i lo {chance}"]
    return "\n".join([*lines, "COMMIT", ""])


def _verdicts(link: Link) -> Sequence[str]:
    """Return the rules of one link, without its address."""
    # Either end's port: the answers of a cut service are its packets too.
    port = f"-p tcp -m multiport --ports {link.port} " if link.port else ""
    if link.drop == "blackhole":
        return (f"{port}-j DROP",)
    if link.port:
        return (f"{port}-j REJECT --reject-with tcp-reset",)
    return ("-p tcp -j REJECT --reject-with tcp-reset", "-j REJECT")


RESTORE = "iptables-restore -w --noflush"

# Jumped to from the built-in chains; `-C ... ||` makes the jump once, however often this runs.
HOOK = (
    f"iptables -w -C OUTPUT -j {_CHAIN} 2>/dev/null || iptables -w -I OUTPUT -j {_CHAIN}; "
    f"iptables -w -C INPUT -j {_CHAIN}-IN 2>/dev/null || iptables -w -I INPUT -j {_CHAIN}-IN"
)


def shaping(rate: int) -> str:
    """Return the command that lets so many bytes a second leave a machine; the rest queues.

    A burst of one full packet; a queue that is never full, for it is not to lose any.
    """
    return f"tc qdisc replace dev eth0 root tbf rate {8 * rate}bit burst 1600 limit 10mb"


# Also where nothing is shaped.
UNSHAPED = "tc qdisc del dev eth0 root 2>/dev/null || true"
