"""Renders Patroni's configuration from environment variables with Spilo's names.

All of the environment is judged before anything is written; exit 2 lists every mistake. Where Spilo
guesses, this refuses: no coordination store of its own, no cluster that is half of a clone.
"""

import fcntl
import ipaddress
import os
import pickle
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml
from certificates import SEAL, SELF_SIGNED, files_of, seal_of, sign_own
from environment import ConfigurationError
from settings import JUDGED, POSTGRESQL_ROOT, Settings, read_settings, write
from storage import Place

CONFIG = Path("/run/spilo/patroni.yml")
# pgBackRest's: of this cluster, and of the one that it is cloned from.
OWN_STORE = Path("/run/spilo/pgbackrest.conf")
SOURCE_STORE = Path("/run/spilo/clone.conf")
HERE = Path(__file__).parent
SIOCGIFADDR = 0x8915  # linux/sockios.h: the IPv4 address of an interface


@dataclass(frozen=True, slots=True)
class Host:
    """What differs from node to node, none of it configured."""

    name: str
    address: str
    bin_dir: str


def render(settings: Settings, host: Host) -> dict[str, object]:
    """Return Patroni's configuration for one node."""
    text = _filled("patroni.yml.j2", s=settings, host=host)
    configuration: dict[str, object] = yaml.safe_load(text)
    return merged(configuration, settings.overlay)


def render_store(settings: Settings, place: Place) -> str:
    """Return pgBackRest's configuration for the backups of one cluster."""
    assert settings.storage is not None
    # Beside the data, on the same disk: what is queued there outlives a restart of the machine.
    spool = str(Path(settings.pgdata).parent / "spool")
    return _filled(
        "pgbackrest.conf.j2", s=settings, store=settings.storage.endpoint, place=place, spool=spool
    )


def _filled(template: str, **values: object) -> str:
    # No autoescape, which is for HTML. What goes into YAML is quoted by tojson; what goes into
    # pgBackRest's file holds no line break: the readers saw to it.
    environment = jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string((HERE / template).read_text()).render(values)


def merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Return `below` with `above` laid over it: mappings are merged, all else is replaced whole."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            result[key] = merged(under, value)
        else:
            result[key] = value
    return result


def this_host(pgversion: str) -> Host:
    """Return the facts of the container that this runs in."""
    bin_dir = str(POSTGRESQL_ROOT / pgversion / "bin")
    return Host(name=socket.gethostname(), address=_first_address(), bin_dir=bin_dir)


def main() -> int:
    """Render the configuration of this container; exit 2 when its environment is wrong."""
    try:
        settings = read_settings(os.environ)
        host = this_host(settings.pgversion)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"configure: {mistake}", file=sys.stderr)
        return 2
    write(pickle.dumps(settings), JUDGED)
    write(yaml.safe_dump(render(settings, host), sort_keys=False).encode(), CONFIG)
    if SELF_SIGNED in (settings.tls, settings.restapi_tls):
        sign_own(host.name, host.address)
    # Empty when one is away at this very moment: whatever comes is new, then.
    write(seal_of(files_of(settings.tls, settings.restapi_tls)).encode(), SEAL)
    if settings.storage is not None:
        write(render_store(settings, settings.storage.own).encode(), OWN_STORE)
        if settings.storage.clone is not None:
            source = render_store(settings, settings.storage.clone.source)
            write(source.encode(), SOURCE_STORE)
    return 0


def _first_address() -> str:
    """Return the first IPv4 address that others can reach; asks the kernel, never the DNS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, interface in sorted(socket.if_nameindex()):
            request = struct.pack("256s", interface.encode())
            try:
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            address = ipaddress.IPv4Address(answer[20:24])
            if not address.is_loopback:
                return str(address)
    raise ConfigurationError(
        ["PG_CONNECT_ADDRESS: this container has no IPv4 address; expected a network"]
    )


if __name__ == "__main__":
    sys.exit(main())
