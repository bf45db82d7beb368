"""Nothing comes in over the network in the clear, and a renewed certificate is shown (ADR 0018)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from harness.clock import WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.vault import NODES, UIDS, Share, server_files
from harness.errors import DriverError
from harness.scenario import Cluster

CLOCK = WallClock()
PYTHON = "/opt/client/bin/python"
CA = "/run/secrets/ca.pem"
# PostgreSQL speaks its own protocol before TLS: the 8 bytes ask for it (SSLRequest).
SHOWN = """
import socket, ssl, struct, sys
address, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile="/run/secrets/ca.pem")
with socket.create_connection((address, port), 5) as plain:
    if port == 5432:
        plain.sendall(struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
    with context.wrap_socket(plain, server_hostname=address) as tls:
        print(tls.getpeercert()["serialNumber"], tls.version())
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerDriver]:
    """Yield a driver of one node; each test leaves it as it found it."""
    folder = tmp_path_factory.mktemp("tls")
    made = DockerDriver(f"{Random().getrandbits(32):08x}", folder, CLOCK)
    try:
        made.up(Cluster(nodes=1, azs=("a",)))
        CLOCK.wait_for(lambda: "leader" in made.dcs(deadline_s=2), timeout_s=60, what="a leader")
        yield made
    finally:
        made.down()


def run(driver: DockerDriver, *words: str) -> str:
    return driver._containers.exec("client-region", [PYTHON, "-c", *words])


def shown(driver: DockerDriver, port: int) -> str:
    """Return the serial number of the certificate that is shown, verified, and TLS's version."""
    return run(driver, SHOWN, driver.nodes[0].address, str(port)).strip()


def _differs(driver: DockerDriver, port: int, before: str) -> bool:
    try:
        return shown(driver, port) != before
    except DriverError:  # Patroni opens its door anew
        return False


def psql(driver: DockerDriver, settings: str) -> str:
    address = driver.nodes[0].address
    where = f"host={address} user=postgres dbname=postgres {settings}"
    command = f'PGPASSWORD=$(cat /run/secrets/superuser) psql "{where}" -Atc "SELECT 1"'
    return driver._containers.exec("pg-1", ["sh", "-c", command])


def test_both_doors_show_the_clusters_certificate(driver: DockerDriver) -> None:
    """Verified by address, at TLS 1.2 or later."""
    assert shown(driver, 5432) == shown(driver, 8008)
    assert shown(driver, 5432).split()[1] in ("TLSv1.2", "TLSv1.3")


def test_a_plain_connection_is_refused(driver: DockerDriver) -> None:
    """By name of the line that is missing; with TLS the same login gets in."""
    with pytest.raises(DriverError, match="no encryption"):
        psql(driver, "sslmode=disable")
    assert psql(driver, f"sslmode=verify-full sslrootcert={CA}").strip() == "1"


def test_old_tls_is_refused(driver: DockerDriver) -> None:
    """1.1 and older have been broken for long."""
    old = "ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1"
    with pytest.raises(DriverError):
        psql(driver, f"sslmode=require {old}")


def test_rest_speaks_no_plain_http(driver: DockerDriver) -> None:
    """Not even an error in the clear."""
    ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
    with pytest.raises(DriverError):
        run(driver, ask, f"http://{driver.nodes[0].address}:8008/health")


def test_health_is_open_and_changes_are_not(driver: DockerDriver) -> None:
    """An ELB has no credentials; whoever changes something has, or is refused."""
    ask = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile="/run/secrets/ca.pem")
request = urllib.request.Request(sys.argv[1], data=sys.argv[3].encode() or None, method=sys.argv[2])
try:
    print(urllib.request.urlopen(request, timeout=5, context=context).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    url = f"https://{driver.nodes[0].address}:8008"
    assert run(driver, ask, f"{url}/primary", "GET", "").strip() == "200"
    for path, method, body in (
        ("/config", "PATCH", '{"ttl": 31}'),
        ("/restart", "POST", "{}"),
        ("/switchover", "POST", '{"leader": "pg-1"}'),
        ("/failsafe", "POST", "{}"),
    ):
        assert run(driver, ask, f"{url}{path}", method, body).strip() == "401", path


def started_at(driver: DockerDriver) -> object:
    return driver.query("pg-1", "SELECT pg_postmaster_start_time()::text", deadline_s=5)


def renew(driver: DockerDriver) -> None:
    renewed = server_files(driver._authority, driver._machines.values())
    driver._containers.hand_out({NODES: Share(UIDS[NODES], renewed)})


def await_another(driver: DockerDriver, before: str) -> None:
    """At both doors the same, and another one than before."""
    for port in (5432, 8008):
        CLOCK.wait_for(
            partial(_differs, driver, port, before),
            timeout_s=60,
            what=f"the new certificate at port {port}",
            every_s=0.5,
        )
    assert shown(driver, 5432) == shown(driver, 8008)


def test_a_renewed_certificate_is_shown_without_a_restart(driver: DockerDriver) -> None:
    """At both doors, within a few seconds, and PostgreSQL keeps its sessions."""
    before, started = shown(driver, 5432), started_at(driver)
    renew(driver)
    await_another(driver, before)
    assert started_at(driver) == started


def test_what_was_renewed_before_the_keeper_came_is_shown(driver: DockerDriver) -> None:
    """It starts seconds after Patroni, on a busy machine many; this one later still."""
    before = shown(driver, 5432)
    driver._containers.exec("pg-1", ["pkill", "-STOP", "-f", "spilo/keeper.py"])
    renew(driver)
    driver._containers.exec("pg-1", ["pkill", "-KILL", "-f", "spilo/keeper.py"])
    await_another(driver, before)


def test_the_keys_are_for_their_owner_only(driver: DockerDriver) -> None:
    """Neither the mounted files nor what is rendered from them can be read by others."""
    find = "find /run/secrets /run/spilo -type f \\( -perm /o=r -o -perm /g=r \\) -printf '%p\\n'"
    found = driver._containers.exec("pg-1", ["sh", "-c", find]).split()
    rendered = ("patroni.yml", "pgbackrest.conf", "settings", "server.key", "pgpass")
    assert [path for path in found if Path(path).name in rendered] == []
