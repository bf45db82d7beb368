"""image/elb/entrypoint.sh: environment in, HAProxy's configuration or every mistake out."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "image" / "elb" / "entrypoint.sh"
GOOD = {"ELB_TARGETS": "pg-1=198.18.7.11,pg-2=198.18.7.12", "ELB_CHECK": "/primary"}


@pytest.fixture
def start(tmp_path: Path):
    """Return what starts the script, with a HAProxy that tells only how it was started."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "haproxy"
    program.write_text('#!/bin/sh\necho "haproxy $*"\n')
    program.chmod(0o755)

    def run(environment: Mapping[str, str]) -> tuple[int, str, str]:
        done = subprocess.run(
            ["/bin/sh", SCRIPT],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def servers(folder: Path) -> list[str]:
    text = (folder / "haproxy.cfg").read_text()
    return [line.strip() for line in text.splitlines() if line.startswith("  server ")]


@pytest.mark.parametrize("given", [{}, {"ELB_CHECK_SSL": "off"}])
def test_the_check_is_plain_http_by_default(start, tmp_path, given):
    """And each target is in the state file: out of service until it has passed its checks."""
    assert start({**GOOD, **given}) == (0, "haproxy -db -q -f haproxy.cfg\n", "")
    assert servers(tmp_path) == ["server pg-1 198.18.7.11:5432", "server pg-2 198.18.7.12:5432"]
    state = (tmp_path / "state").read_text().splitlines()
    assert [line.split()[:6] for line in state[2:]] == [
        ["2", "elb", "1", "pg-1", "198.18.7.11", "0"],
        ["2", "elb", "2", "pg-2", "198.18.7.12", "0"],
    ]


def test_the_check_may_be_https(start, tmp_path):
    """The check alone, and it trusts whom it meets; what clients send is passed on untouched."""
    assert start({**GOOD, "ELB_CHECK_SSL": "on"})[0] == 0
    assert servers(tmp_path) == [
        "server pg-1 198.18.7.11:5432 check-ssl verify none",
        "server pg-2 198.18.7.12:5432 check-ssl verify none",
    ]
    assert "mode tcp" in (tmp_path / "haproxy.cfg").read_text()


def test_the_check_may_be_a_bare_connection(start, tmp_path):
    """Where clients connect; HAProxy leaves out by itself what a path would need."""
    assert start({**GOOD, "ELB_CHECK": "tcp"})[0] == 0
    assert servers(tmp_path) == ["server pg-1 198.18.7.11:5432", "server pg-2 198.18.7.12:5432"]
    assert '.if !streq("${ELB_CHECK}",tcp)' in (tmp_path / "haproxy.cfg").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ELB_CHECK_SSL": "yes"}, "elb: ELB_CHECK_SSL: 'yes'; expected on or off"),
        ({"ELB_CHECK_SSL": "ON"}, "elb: ELB_CHECK_SSL: 'ON'; expected on or off"),
        (
            {"ELB_CHECK": "primary"},
            "elb: ELB_CHECK: 'primary'; expected a path like /primary, or tcp",
        ),
        (
            {"ELB_CHECK": "tcp", "ELB_CHECK_SSL": "on"},
            "elb: ELB_CHECK_SSL: 'on'; expected off, as tcp only connects",
        ),
        ({"ELB_CHECK": ""}, "elb: ELB_CHECK: missing; expected a path like /primary, or tcp"),
        ({"ELB_PORT": "80"}, "elb: ELB_PORT: '80'; expected a port from 1024 to 65535"),
        ({"ELB_CHECK_PORT": "x"}, "elb: ELB_CHECK_PORT: 'x'; expected a port number"),
        ({"ELB_TARGETS": ""}, "elb: ELB_TARGETS: missing; expected name=address,name=address"),
        ({"ELB_TARGETS": "pg-1"}, "elb: ELB_TARGETS: 'pg-1'; expected name=address"),
        ({"ELB_TARGETS": "a=b check=1"}, "elb: ELB_TARGETS: 'a=b check=1'; expected name=address"),
    ],
)
def test_a_mistake_is_refused(start, tmp_path, changes, said):
    """HAProxy is not started with it."""
    assert start({**GOOD, **changes}) == (2, "", f"{said}\n")
    assert not (tmp_path / "haproxy.cfg").exists()


def test_all_mistakes_are_told_at_once(start):
    """A wrong word for TLS does not hide a wrong target."""
    code, _, said = start({"ELB_TARGETS": "pg-1=198.18.7.11,b", "ELB_CHECK_SSL": "1"})
    assert code == 2
    assert said.splitlines() == [
        "elb: ELB_CHECK: missing; expected a path like /primary, or tcp",
        "elb: ELB_CHECK_SSL: '1'; expected on or off",
        "elb: ELB_TARGETS: 'b'; expected name=address",
    ]
