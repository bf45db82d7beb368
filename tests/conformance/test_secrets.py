"""No secret of a run is where anybody may read it: engine, logs, files, command lines, reports.

One run with backups, a restored cluster and refusals of S3, whose errors are the likeliest to tell
too much, is looked through before its machines go; what it recorded, after it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import drivers, launch, loader, runner
from harness.clock import WallClock
from harness.drivers.docker.containers import NEMESIS, Containers, _tar
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.vault import Share
from harness.plan import plan
from harness.verdict import Verdict
from tests.mutants.planted import defect
from tests.unit.leaks import leaking, needles, secrets_in

pytestmark = pytest.mark.docker

SCENARIO = """\
scenario: secrets-stay
title: A cluster, a clone of it, and an S3 that refuses
cluster: {nodes: 1, azs: [a], patroni: {ttl: 20, loop_wait: 2, retry_timeout: 5}}
workload: {append: {clients: 1, rate: 5/s, through: primary-elb}}
steps:
  - wait: {until: backup-done, timeout: 60s}
  - mark: before
  - wait: {until: archived, timeout: 60s}
  - restore: {to: {mark: before, by: name}, as_cluster: restored, nodes: 1}
  - s3: {how: deny, for: 2s}
  - backup: {kind: full, may_fail: true}
  - sleep: 2s
expect:
  writers: {max: 1}
"""
# Every file of a machine but the kernel's and the programs'. /srv/harness is this checkout.
FILES = "/proc /sys /usr /lib /lib64 /bin /sbin /srv/harness"
# Below /proc/<pid>/root is all that the machine sees: volumes and file systems in memory, too. What
# goes while it is looked at is no leak; that all the rest can be read is tested below.
LOOK = """
cd /proc/{pid}/root && find . \\( {skipped} \\) -prune -o -type f -print0 \
 | xargs -0 -r grep -slFaf {needles} | tr '\\n' '\\0' | xargs -0 -r stat -c '%a %n' 2>/dev/null
"""
# A leak, made before the search: that it is found shows that others would be.
PLANTED = "/tmp/planted"
PLANT = f"cat /run/secrets/superuser > {PLANTED} && chmod 644 {PLANTED}"
# In the container that has all secrets anyway, and no volume.
NEEDLES = "/root/needles"


@dataclass
class Seen:
    """What was found in a run.

    Attributes:
        handed_out: contents of all files of secrets, by holder and name.
        private: files of machines that hold a secret and that only their owner may read.
        inspected, images, logs, files, processes: places where a secret leaks.
        folder: of the run.
    """

    folder: Path
    handed_out: dict[str, str] = field(default_factory=dict)
    private: list[str] = field(default_factory=list)
    inspected: Sequence[str] = ()
    images: Sequence[str] = ()
    logs: Sequence[str] = ()
    files: list[str] = field(default_factory=list)
    processes: Sequence[str] = ()
    verdict: Verdict = Verdict.ERROR
    note: str = ""

    @property
    def needles(self) -> Sequence[bytes]:
        return needles(secrets_in(self.handed_out))

    def look(self, driver: DockerDriver) -> None:
        """Look through everything that the engine has of a run."""
        found = driver._containers.adopt()
        inspected, images, logs = {}, {}, {}
        for name, container in found.items():
            container.reload()
            assert container.image is not None
            inspected[name] = json.dumps(container.attrs).encode()
            image = [container.image.attrs, container.image.history()]
            images[name] = json.dumps(image).encode()
            logs[name] = container.logs()
        self.inspected = leaking(inspected, self.needles)
        self.images = leaking(images, self.needles)
        self.logs = leaking(logs, self.needles)
        every = driver._containers.nemesis("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        self.processes = leaking({"command lines": every.encode()}, self.needles)
        driver._containers.exec("pg-1", ["sh", "-c", PLANT])
        self._look_at_files(driver)

    def _look_at_files(self, driver: DockerDriver) -> None:
        share = Share(0, {Path(NEEDLES).name: b"\n".join(self.needles).decode()})
        driver._containers[NEMESIS].put_archive(str(Path(NEEDLES).parent), _tar(share))
        skipped = " -o ".join(f"-path .{path}" for path in FILES.split())
        for name in driver._containers.adopt():
            pid = driver._containers.pid(name)
            if name == NEMESIS:
                continue
            assert pid is not None, f"{name} is down; nothing of it was looked at"
            told = driver._containers.nemesis(
                LOOK.format(pid=pid, skipped=skipped, needles=NEEDLES)
            )
            for line in told.splitlines():
                mode, _, path = line.partition(" ")
                others = int(mode, 8) & 0o044
                (self.files if others else self.private).append(f"{name}:{path.lstrip('.')}")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Return what was found in a run that has ended."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    folder = tmp_path_factory.mktemp("secrets")
    found = Seen(folder / "run")

    class LookedThrough(DockerDriver):
        """Is looked through just before it goes."""

        def down(self) -> None:
            try:
                found.look(self)
            finally:
                super().down()

    make = defect(LookedThrough, Stack(dcs_members=1))
    hand_out = Containers.hand_out

    def noting(self: Containers, shares: Mapping[str, Share]) -> None:
        for holder, share in shares.items():
            found.handed_out |= {f"{holder}/{name}": text for name, text in share.files.items()}
        hand_out(self, shares)

    path = folder / "secrets-stay.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    planned = plan(loader.load(path), "docker", seed=20261123)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Containers, "hand_out", noting)
        clock, silent = WallClock(), runner.Silent()
        result = runner.run(
            planned, out=found.folder, clock=clock, listener=silent, make_driver=make
        )
    launch.write(result, found.folder)
    found.verdict, found.note = result.cells[0].verdict, result.cells[0].note
    return found


def test_the_run_is_one_that_could_leak(seen: Seen) -> None:
    """All went as planned; and the search finds secrets where they have to be."""
    print(*seen.private, sep="\n")  # noqa: T201 - for whoever runs this with -s, or sees it fail
    assert seen.verdict is Verdict.PASS, seen.note
    assert {"spilo/superuser", "spilo/restored/server.key", "s3/root-password"} <= set(
        seen.handed_out
    )
    for node in ("pg-1", "restored-pg-1"):
        wanted = {"/run/secrets/superuser", "/run/spilo/patroni.yml", "/run/spilo/pgbackrest.conf"}
        assert {f"{node}:{path}" for path in wanted} <= set(seen.private)
    assert {"s3:/run/secrets/root-password", "client-region:/run/secrets/rest"} <= set(seen.private)


def test_the_engine_shows_none(seen: Seen) -> None:
    """`docker inspect` of each container and of its image, and the image's history."""
    assert (seen.inspected, seen.images) == ([], [])


def test_no_log_has_one(seen: Seen) -> None:
    """Of any machine, S3 and its refusals among them."""
    assert seen.logs == []


def test_no_file_that_others_may_read_has_one(seen: Seen) -> None:
    """On any disk, volume or file system in memory of any machine, but for the one planted."""
    assert seen.files == [f"pg-1:{PLANTED}"]


def test_no_command_line_has_one(seen: Seen) -> None:
    """Of any process that runs on this engine; those that were over by then are not seen."""
    assert seen.processes == []


def test_nothing_that_a_run_keeps_has_one(seen: Seen) -> None:
    """Its result, its page, its history, the clients' and the machines' logs, the journal."""
    kept = {
        str(path.relative_to(seen.folder)): path.read_bytes()
        for path in seen.folder.rglob("*")
        if path.is_file()
    }
    assert {"result.json", "index.html", "junit.xml", "history.jsonl", "logs/pg-1.log"} <= set(kept)
    assert leaking(kept, seen.needles) == []
