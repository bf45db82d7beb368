"""`knock`: ask nodes for a session without TLS."""

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DriverError
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Target

# PostgreSQL's invalid_authorization_specification: no line of pg_hba.conf lets this client in. Any
# other refusal comes before or after that question: a server that starts, or has no room left.
_NO_ENTRY = "28000"
_DEADLINE_S = 5.0


@register
class Knock(Target):
    """Ask each node for a session without TLS, as a client does that was told `sslmode=disable`.

    It holds when each has answered: it refused for want of a line in pg_hba.conf, or it took the
    connection and asked for a password. Which, is recorded, and judged by `cleartext`. A node that
    does not answer, or refuses for another reason, makes the run an error: it said nothing.

    Example:
        knock: {service: postgres}

    Source: PostgreSQL documentation, "The pg_hba.conf File"; `src/backend/libpq/auth.c`.
    """

    name: ClassVar[str] = "knock"

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes, known = world.resolve(self), [node.name for node in world.driver.nodes]
        if strangers := [name for name in nodes if name not in known]:
            raise DriverError(
                f"knock: {', '.join(strangers)} is no node; expected PostgreSQL there"
            )
        at = world.clock.now_ns()
        said = {name: world.driver.in_clear(name, deadline_s=_DEADLINE_S) for name in nodes}
        if others := [
            f"{name}: {code}" for name, code in said.items() if code not in (None, _NO_ENTRY)
        ]:
            raise DriverError(
                f"knock: {', '.join(others)}; expected a welcome, or a refusal with {_NO_ENTRY}"
            )
        return {
            "nodes": list(nodes),
            "at": at,
            "refused": [name for name in nodes if said[name] is not None],
            "welcomed": [name for name in nodes if said[name] is None],
        }
