"""Tests for harness.drivers.docker.packets: the rules as text."""

from harness.drivers.docker import packets
from harness.protocols import Link

ADDRESSES = {"pg-1": "198.18.7.11", "etcd-1": "198.18.7.21", "etcd-2": "198.18.7.22"}
HEAD = "*filter\n:DRILL - [0:0]\n:DRILL-IN - [0:0]\n"


def rules(*links: Link, dark: bool = False, loss: float = 0.0) -> str:
    text = packets.rules(links, ADDRESSES, dark=dark, loss=loss)
    assert text.startswith(HEAD), "the chains are emptied first, so a script is the whole truth"
    assert text.endswith("COMMIT\n")
    return text.removeprefix(HEAD).removesuffix("COMMIT\n")


def test_no_cuts_are_empty_chains() -> None:
    """The script that mends the last cut."""
    assert rules() == ""


def test_a_black_hole_loses_every_packet() -> None:
    """Whatever the protocol."""
    assert rules(Link("pg-1", "etcd-1")) == "-A DRILL -d 198.18.7.21 -j DROP\n"


def test_a_port_loses_only_its_packets() -> None:
    """At either end: the answers of a cut service are its packets too."""
    assert rules(Link("pg-1", "etcd-1", 2379)) == (
        "-A DRILL -d 198.18.7.21 -p tcp -m multiport --ports 2379 -j DROP\n"
    )


def test_a_rejecting_link_answers_at_once() -> None:
    """TCP by a reset, as nothing else closes an open connection; the rest by ICMP."""
    assert rules(Link("pg-1", "etcd-1", drop="reject")) == (
        "-A DRILL -d 198.18.7.21 -p tcp -j REJECT --reject-with tcp-reset\n"
        "-A DRILL -d 198.18.7.21 -j REJECT\n"
    )


def test_a_rejecting_port() -> None:
    """Only TCP has ports here."""
    assert rules(Link("pg-1", "etcd-1", 2379, "reject")) == (
        "-A DRILL -d 198.18.7.21 -p tcp -m multiport --ports 2379 "
        "-j REJECT --reject-with tcp-reset\n"
    )


def test_links_add_up() -> None:
    """Each destination has its own rule, in the order of the cuts."""
    text = rules(Link("pg-1", "etcd-2"), Link("pg-1", "etcd-1", 2379))
    assert [line.split()[3] for line in text.splitlines()] == ["198.18.7.22", "198.18.7.21"]


def test_the_dark_loses_both_ways_but_spares_the_machine_itself() -> None:
    """Programs that talk over `lo` have not lost their network; that would be another failure."""
    assert rules(dark=True) == "-A DRILL ! -o lo -j DROP\n-A DRILL-IN ! -i lo -j DROP\n"


def test_cuts_stay_in_the_dark() -> None:
    """They hold again when the machine is back."""
    assert "198.18.7.21" in rules(Link("pg-1", "etcd-1"), dark=True)


def test_the_hook_jumps_once_however_often_it_runs() -> None:
    """Asked for before it is made, for each direction."""
    for chain, own in (("OUTPUT", "DRILL"), ("INPUT", "DRILL-IN")):
        asked = f"iptables -w -C {chain} -j {own} 2>/dev/null"
        assert f"{asked} || iptables -w -I {chain} -j {own}" in packets.HOOK
    assert "--noflush" in packets.RESTORE


def test_loss_is_by_chance_and_both_ways() -> None:
    """After the cuts, which lose everything; what a machine says to itself is spared."""
    chance = "-m statistic --mode random --probability 0.2000 -j DROP\n"
    assert rules(Link("pg-1", "etcd-1"), loss=0.2) == (
        f"-A DRILL -d 198.18.7.21 -j DROP\n-A DRILL ! -o lo {chance}-A DRILL-IN ! -i lo {chance}"
    )


def test_a_rate_is_told_in_bits() -> None:
    """As tc wants it; a burst holds one full packet."""
    shaping = packets.shaping(4096)
    assert shaping == "tc qdisc replace dev eth0 root tbf rate 32768bit burst 1600 limit 10mb"
