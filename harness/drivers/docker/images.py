"""Makes the images that the docker driver runs; what is already there is not made again.

Each folder of `image/` with a Dockerfile is one image. Its tag is a hash of all that goes into it,
so an image that carries the tag is the image: an unchanged tree builds nothing. The Debian base is,
in this order: `DRILL_IMAGE_BASE`, a base already present, a pull, a debootstrap; of an older
release, for an older PostgreSQL, `DRILL_IMAGE_BASE_BOOKWORM` and so on. Python wheels are
downloaded on the host and carried into the build, where a private CA may be missing; so is the
program of MinIO (harness/drivers/docker/minio.py).
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import NamedTuple

import docker
import docker.errors

from harness import budget, turns
from harness.cache import cache_folder
from harness.clock import Clock
from harness.drivers.docker import debian, minio, published
from harness.drivers.docker.commands import Progress, run, tail
from harness.drivers.docker.debian import NEWEST, PGVERSION, Suite
from harness.errors import DriverError
from harness.scenario import DcsKind

IMAGE_DIR = Path(__file__).resolve().parents[3] / "image"
_STORES: tuple[DcsKind, ...] = ("etcd", "zookeeper")
ALL = ("spilo", *_STORES, "elb", "client", "nemesis", "minio")

# The glibc of each release in the table is newer than all these.
MANYLINUX = ("_2_34", "_2_31", "_2_28", "_2_17", "2014")
MINIO = "minio"  # the image that a program is carried into
MINIO_VERSION = "MINIO_VERSION"  # which one: an argument of its Dockerfile


class File(NamedTuple):
    """One file of a build context, read once: what is hashed is what is built."""

    name: str
    mode: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that determines one image.

    Attributes:
        files: the build context; its Dockerfile starts from the argument BASE.
        base: the reference of the Debian image below it.
        build_args: what the Dockerfile's other arguments are set to.
    """

    name: str
    files: Sequence[File]
    base: str
    build_args: Mapping[str, str]

    @property
    def suite(self) -> Suite:
        """Return the release of Debian that `base` is of."""
        return debian.suite_of(self.build_args.get(PGVERSION))

    @property
    def reference(self) -> str:
        digest = content_hash(self.files, {"BASE": self.base, **self.build_args})
        return f"drill/{self.name}:{digest}"


def needed(dcs: DcsKind) -> Sequence[str]:
    """Return the images of a cluster on this DCS: nobody waits for the making of another's."""
    return [name for name in ALL if name == dcs or name not in _STORES]


def ensure(
    client: docker.DockerClient,
    progress: Progress,
    names: Collection[str] = ALL,
    build_args: Mapping[str, str] | None = None,
    *,
    clock: Clock | None = None,
) -> dict[str, str]:
    """Return name -> reference for `names`, building what is missing.

    Args:
        client: of the engine that is to have the images.
        progress: is told a line at each long step.
        names: folders of `image/`.
        build_args: override the defaults of the Dockerfiles' arguments (PATRONI_VERSION=4.0.7), in
            those images that declare them.
        clock: of whoever waits, before anything is built, until no cluster is up and then keeps
            all others waiting: compilers would take the cores that a run is measured on.

    Raises:
        DriverError: when a base cannot be had or a build fails, with the end of the build's output.
    """
    wanted = build_args or {}
    bases = _bases_at_hand(client, names, wanted)
    recipes = _recipes(client, names, bases, wanted) if bases else []
    if not bases or _missing(client, recipes):
        # In this order: whoever builds has had its turn, so nobody waits in a circle.
        with _undisturbing(clock, progress), _building_alone(progress):
            # Asked again: another process may have built them while this one waited for its turn.
            recipes = _made(client, names, wanted, progress)
    return {recipe.name: recipe.reference for recipe in recipes}


def _made(
    client: docker.DockerClient,
    names: Collection[str],
    wanted: Mapping[str, str],
    progress: Progress,
) -> list[Recipe]:
    """Return the recipes of `names`, all of them built."""
    bases = _bases_at_hand(client, names, wanted)
    recipes = _recipes(client, names, bases, wanted) if bases else []
    missing = [recipe.name for recipe in _missing(client, recipes)] if bases else names
    # MinIO's compilation is the longest wait, so it begins first and lasts beside all others.
    search = _minio(client, wanted, progress) if MINIO in missing else None
    with _beside(search) as program:
        bases = bases or {
            suite: _base_at_hand(client, suite) or _new_base(client, suite, progress)
            for suite in _suites(names, wanted)
        }
        # Read once: somebody who edits the tree meanwhile must not change what is returned.
        others = _recipes(client, [name for name in names if name != MINIO], bases, wanted)
        made = {recipe.name: recipe for recipe in others}
        _build_all(client, _missing(client, others), progress)
        if program:
            made[MINIO] = _build_minio(client, program.result(), bases[NEWEST], wanted, progress)
        elif MINIO in names:
            made[MINIO] = _minio_recipe(client, bases[NEWEST], wanted)
    return [made[name] for name in names]


@contextmanager
def _beside(search: minio.Search | None) -> Iterator[Future[minio.Program] | None]:
    """Let MinIO's program be sought meanwhile, if at all; given up when the rest fails."""
    if search is None:
        yield None
        return
    abandoned = Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=MINIO) as pool:
        try:
            yield pool.submit(search.program, abandoned)
        except BaseException:
            abandoned.set()
            raise


def content_hash(files: Iterable[File], build_args: Mapping[str, str]) -> str:
    """Return 12 hexadecimal digits over the files (name, mode, bytes) and the arguments."""
    digest = hashlib.sha256()
    for key, value in sorted(build_args.items()):
        digest.update(f"{key}={value}\0".encode())
    for file in sorted(files):
        # The length keeps the end of one file from passing for the beginning of the next.
        digest.update(f"{file.name}\0{file.mode:o}\0{len(file.content)}\0".encode())
        digest.update(file.content)
    return digest.hexdigest()[:12]


def context_files(folder: Path) -> list[File]:
    """Read the files of a build context, less the bytecode left by importing them."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        File(str(path.relative_to(folder)), _mode(path), path.read_bytes())
        for path in paths
        if "__pycache__" not in path.parts
    )


def dockerfile_args(dockerfile: str) -> dict[str, str]:
    """Return the Dockerfile's arguments that have a default, with it."""
    return dict(re.findall(r"^ARG\s+(\w+)=(\S+)\s*$", dockerfile, flags=re.MULTILINE))


def context_tar(files: Iterable[File]) -> BytesIO:
    """Pack `files` so that equal content makes an equal archive: no owners, no times."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(file.content), file.mode
            tar.addfile(entry, BytesIO(file.content))
    packed.seek(0)
    return packed


def debian_mirror(sources: Iterable[str]) -> str | None:
    """Return the first Debian mirror in the texts of apt's `sources`, or None.

    Without one, debootstrap takes Debian's own entry point.
    Only http: inside a new base there is no CA certificate yet, and apt verifies signatures anyway.
    """
    for text in sources:
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        found = re.search(r"\bhttp://\S+/debian(?=/?(\s|$))", "\n".join(lines))
        if found:
            return found.group()
    return None


def _recipes(
    client: docker.DockerClient,
    names: Iterable[str],
    bases: Mapping[Suite, str],
    wanted: Mapping[str, str],
) -> list[Recipe]:
    return [
        _minio_recipe(client, bases[NEWEST], wanted)
        if name == MINIO
        else _recipe(name, bases[_suite(name, wanted)], wanted)
        for name in names
    ]


def _suite(name: str, wanted: Mapping[str, str]) -> Suite:
    return _recipe(name, "", wanted).suite


def _suites(names: Iterable[str], wanted: Mapping[str, str]) -> list[Suite]:
    return list(dict.fromkeys(_suite(name, wanted) for name in names))


def _minio_recipe(client: docker.DockerClient, base: str, wanted: Mapping[str, str]) -> Recipe:
    """Return the recipe of a MinIO that is there, or of the one that is wanted most."""
    versions = _minio(client, wanted, lambda _: None).versions
    recipes = [_recipe(MINIO, base, {**wanted, MINIO_VERSION: version}) for version in versions]
    present = (each for each in recipes if published.is_present(client, each.reference))
    return next(present, recipes[0])


def _minio(
    client: docker.DockerClient, wanted: Mapping[str, str], progress: Progress
) -> minio.Search:
    version = _recipe(MINIO, "", wanted).build_args[MINIO_VERSION]
    return minio.Search(client, version, MINIO_VERSION in wanted, cache_folder(), progress)


def _recipe(name: str, base: str, wanted: Mapping[str, str]) -> Recipe:
    files = context_files(IMAGE_DIR / name)
    dockerfile = next((file for file in files if file.name == "Dockerfile"), None)
    if dockerfile is None:
        raise DriverError(f"image {name}: no {IMAGE_DIR / name}/Dockerfile; expected one")
    defaults = dockerfile_args(dockerfile.content.decode())
    overrides = {key: value for key, value in wanted.items() if key in defaults}
    return Recipe(name, files, base, defaults | overrides)


def _missing(client: docker.DockerClient, recipes: Iterable[Recipe]) -> list[Recipe]:
    return [recipe for recipe in recipes if not published.is_present(client, recipe.reference)]


def _mode(path: Path) -> int:
    # Only the bit that git keeps: a checkout under another umask is the same tree.
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


@contextmanager
def _undisturbing(clock: Clock | None, progress: Progress) -> Iterator[None]:
    """Let no cluster be up meanwhile, if there is a clock to wait by."""
    if clock is None:
        yield
        return
    turn = turns.of_user().take(budget.everything(), clock, progress)
    try:
        yield
    finally:
        turn.release()


@contextmanager
def _building_alone(progress: Progress) -> Iterator[None]:
    """Hold the lock on building; the kernel drops it when the process ends, however it ends."""
    with (cache_folder() / "images.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("images: another process is building them; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _own_base(suite: Suite) -> str:
    made_of = content_hash(context_files(IMAGE_DIR / "base"), {"suite": suite.name})
    return f"drill/base:{suite.name}-{made_of}"


def _bases_at_hand(
    client: docker.DockerClient, names: Iterable[str], wanted: Mapping[str, str]
) -> dict[Suite, str]:
    """Return the base of each release that is needed, or nothing when one is missing."""
    found: dict[Suite, str] = {}
    for suite in _suites(names, wanted):
        base = _base_at_hand(client, suite)
        if base is None:
            return {}
        found[suite] = base
    return found


def _base_at_hand(client: docker.DockerClient, suite: Suite) -> str | None:
    override = published.override(client, "base" if suite == NEWEST else f"base_{suite.name}")
    if override:
        return override
    # Ours first: a published base that somebody pulls later must not rebuild everything.
    references = (_own_base(suite), suite.published)
    return next((name for name in references if published.is_present(client, name)), None)


def _new_base(client: docker.DockerClient, suite: Suite, progress: Progress) -> str:
    if published.pull(client, suite.published, "base", progress):
        return suite.published
    return _debootstrap(client, suite, progress)


def _debootstrap(client: docker.DockerClient, suite: Suite, progress: Progress) -> str:
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        found = "debootstrap is not installed" if program is None else "not root"
        raise DriverError(
            f"image base: {found}; expected root with debootstrap and debian-archive-keyring "
            f"installed, a {suite.published} that can be pulled, or DRILL_IMAGE_BASE"
        )
    reference, mirror = _own_base(suite), debian_mirror(_apt_sources())
    progress(f"image base: debootstrap of {suite.name} (about half a minute)")
    # Not below /tmp, which may be mounted `nodev`: debootstrap makes device files.
    root = cache_folder() / "debootstrap.unfinished"
    _remove_tree(root)  # of a run that was killed; the lock keeps it from being another's
    try:
        run(
            [program, "--variant=minbase", suite.name, str(root), *([mirror] if mirror else [])],
            "image base",
        )
        shutil.copytree(IMAGE_DIR / "base", root, dirs_exist_ok=True)
        _import(client, root, reference)
    finally:
        _remove_tree(root)
    return reference


def _remove_tree(root: Path) -> None:
    # rm rather than shutil: it must not walk into a /proc that debootstrap has left mounted.
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


def _import(client: docker.DockerClient, root: Path, reference: str) -> None:
    """Make an image of the file tree, less what image/base keeps away from later packages."""
    unwanted = ["var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*"]
    unwanted += ["usr/share/man/*", "usr/share/locale/*", "usr/share/info/*"]
    unwanted += ["var/log/*.log", "etc/resolv.conf"]
    excludes = [f"--exclude=./{pattern}" for pattern in unwanted]
    repository, tag = reference.split(":")
    command = ["tar", "--create", "--numeric-owner", *excludes, "--directory", str(root), "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        client.api.import_image_from_stream(tar.stdout, repository=repository, tag=tag)
    if tar.returncode or not published.is_present(client, reference):
        raise DriverError(f"image base: import of {root} failed; expected {reference}")


def _apt_sources() -> list[str]:
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    files = [path for path in files if path.suffix in {".list", ".sources"} and path.is_file()]
    return [path.read_text() for path in files]


def _build_all(client: docker.DockerClient, recipes: list[Recipe], progress: Progress) -> None:
    # Two at once: apt mostly waits for the network and dpkg for one core.
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="image") as pool:
        builds = [pool.submit(_build_with_wheels, client, recipe, progress) for recipe in recipes]
        failures = [build.exception() for build in builds]
    for failure in failures:
        if failure is not None:
            raise failure


def _build_minio(
    client: docker.DockerClient,
    program: minio.Program,
    base: str,
    wanted: Mapping[str, str],
    progress: Progress,
) -> Recipe:
    recipe = _recipe(MINIO, base, {**wanted, MINIO_VERSION: program.version})
    # Not among the files that are hashed: the version says as much, and is known before.
    carried = File(program.path.name, 0o755, program.path.read_bytes())
    _build(client, recipe, [carried], progress)
    return recipe


def _build_with_wheels(client: docker.DockerClient, recipe: Recipe, progress: Progress) -> None:
    pins = next((file for file in recipe.files if file.name == "requirements.txt"), None)
    _build(client, recipe, _wheels(recipe, pins, progress) if pins else [], progress)


def _build(
    client: docker.DockerClient, recipe: Recipe, carried: Sequence[File], progress: Progress
) -> None:
    """Build the image of the recipe's files and of those that were made for it on this host."""
    context = context_tar([*recipe.files, *carried])
    progress(f"image {recipe.name}: building {recipe.reference}")
    try:
        client.images.build(
            fileobj=context,
            custom_context=True,
            tag=recipe.reference,
            buildargs={"BASE": recipe.base, **recipe.build_args},
            rm=True,
            forcerm=True,
        )
    except docker.errors.BuildError as error:
        output = "".join(str(part.get("stream", "")) for part in error.build_log)
        raise DriverError(f"image {recipe.name}: {error.msg}\n{tail(output)}") from error
    except docker.errors.APIError as error:
        raise DriverError(f"image {recipe.name}: {error}; expected a build") from error
    progress(f"image {recipe.name}: built")


def _wheels(recipe: Recipe, pins: File, progress: Progress) -> list[File]:
    """Return the wheels that `pins` names, downloaded once into the cache."""
    target = {**recipe.build_args, "machine": platform.machine(), "python": recipe.suite.python}
    folder = cache_folder() / "wheels" / content_hash([pins], target)
    if not folder.is_dir():
        progress(f"image {recipe.name}: downloading its Python wheels")
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _download(pins, unfinished, recipe)
        unfinished.rename(folder)  # so that a folder of that name is always whole
    return [file._replace(name=f"wheels/{file.name}") for file in context_files(folder)]


def _download(pins: File, folder: Path, recipe: Recipe) -> None:
    requirements = folder / pins.name
    requirements.write_bytes(pins.content)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    python = recipe.suite.python
    abi = f"cp{python.replace('.', '')}"
    target = ["--implementation=cp", f"--python-version={python}"]
    target += [f"--abi={name}" for name in (abi, "abi3", "none")]
    machine = platform.machine()
    target += [f"--platform=manylinux{version}_{machine}" for version in MANYLINUX]
    # --no-deps, for everything is pinned; it also lets a package come as source where its authors
    # publish no wheel (python-etcd, ydiff). Those are built here, and must be pure Python.
    download = [*pip, "download", "--no-deps", *target, f"--dest={folder}", f"-r{requirements}"]
    environment = {**os.environ, **recipe.build_args}  # pip takes ${PATRONI_VERSION} from it
    run(download, "wheels", environment)
    requirements.unlink()
    for source in sorted(folder.glob("*.tar.gz")):
        before = set(folder.glob("*.whl"))
        run([*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", str(source)], "wheels")
        source.unlink()
        for wheel in set(folder.glob("*.whl")) - before:
            if not wheel.name.endswith("-none-any.whl"):
                raise DriverError(f"wheels: {wheel.name} is for this host; expected pure Python")
