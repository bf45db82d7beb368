"""Makes the images that the docker driver runs; what is already there is not made again.

Each folder of `image/` with a Dockerfile is one image. Its tag is a hash of all that goes into it,
so an image that carries the tag is the image: an unchanged tree builds nothing. The Debian base is,
in this order: `DRILL_IMAGE_BASE`, a base already present, a pull, a debootstrap. Python wheels are
downloaded on the host and carried into the build, where a private CA may be missing.
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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import docker
import docker.errors
import requests

from harness.errors import DriverError

IMAGE_DIR = Path(__file__).resolve().parents[3] / "image"
ALL = ("spilo", "etcd", "elb", "client", "nemesis")

SUITE = "trixie"
PUBLISHED_BASE = f"debian:{SUITE}-slim"
# Seconds without a word from the engine; a registry that cannot be reached must not hold us up.
PULL_TIMEOUT_S = 15

PYTHON_IN_IMAGE = "3.13"  # trixie's
MANYLINUX = ("_2_34", "_2_31", "_2_28", "_2_17", "2014")  # trixie's glibc is newer than all these
LINES_OF_OUTPUT = 20

Progress = Callable[[str], None]


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
    def reference(self) -> str:
        digest = content_hash(self.files, {"BASE": self.base, **self.build_args})
        return f"drill/{self.name}:{digest}"


def ensure(
    client: docker.DockerClient,
    progress: Progress,
    names: Collection[str] = ALL,
    build_args: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return name -> reference for `names`, building what is missing.

    Args:
        client: of the engine that is to have the images.
        progress: is told a line at each long step.
        names: folders of `image/`.
        build_args: override the defaults of the Dockerfiles' arguments (PATRONI_VERSION=4.0.7), in
            those images that declare them.

    Raises:
        DriverError: when a base cannot be had or a build fails, with the end of the build's output.
    """
    wanted = build_args or {}
    base = _base_at_hand(client)
    recipes = [_recipe(name, base, wanted) for name in names] if base else []
    if not base or _missing(client, recipes):
        with _building_alone(progress):
            base = base or _base_at_hand(client) or _new_base(client, progress)
            recipes = [_recipe(name, base, wanted) for name in names]
            # Asked again: another process may have built them while this one waited for its turn.
            _build_all(client, _missing(client, recipes), progress)
    return {recipe.name: recipe.reference for recipe in recipes}


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


def _recipe(name: str, base: str, wanted: Mapping[str, str]) -> Recipe:
    files = context_files(IMAGE_DIR / name)
    dockerfile = next((file for file in files if file.name == "Dockerfile"), None)
    if dockerfile is None:
        raise DriverError(f"image {name}: no {IMAGE_DIR / name}/Dockerfile; expected one")
    defaults = dockerfile_args(dockerfile.content.decode())
    overrides = {key: value for key, value in wanted.items() if key in defaults}
    return Recipe(name, files, base, defaults | overrides)


def _missing(client: docker.DockerClient, recipes: Iterable[Recipe]) -> list[Recipe]:
    return [recipe for recipe in recipes if not _is_present(client, recipe.reference)]


def _is_present(client: docker.DockerClient, reference: str) -> bool:
    try:
        client.images.get(reference)
    except docker.errors.ImageNotFound:
        return False
    return True


def _mode(path: Path) -> int:
    # Only the bit that git keeps: a checkout under another umask is the same tree.
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _cache_dir() -> Path:
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(parent) / "drill"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _building_alone(progress: Progress) -> Iterator[None]:
    """Hold the lock on building; the kernel drops it when the process ends, however it ends."""
    with (_cache_dir() / "images.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("images: another process is building them; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _own_base() -> str:
    return f"drill/base:{SUITE}-{content_hash(context_files(IMAGE_DIR / 'base'), {'suite': SUITE})}"


def _base_at_hand(client: docker.DockerClient) -> str | None:
    override = os.environ.get("DRILL_IMAGE_BASE")
    if override:
        if not _is_present(client, override):
            raise DriverError(
                f"DRILL_IMAGE_BASE: no image {override!r}; expected one on this engine"
            )
        return override
    # Ours first: a published base that somebody pulls later must not rebuild everything.
    present = (name for name in (_own_base(), PUBLISHED_BASE) if _is_present(client, name))
    return next(present, None)


def _new_base(client: docker.DockerClient, progress: Progress) -> str:
    if os.environ.get("DRILL_PULL") != "never":
        try:
            progress(f"image base: pulling {PUBLISHED_BASE}")
            # A client of its own, for its time-out; both are made from the same environment.
            puller = docker.from_env(timeout=PULL_TIMEOUT_S)
            puller.images.pull(PUBLISHED_BASE)
        except (docker.errors.DockerException, requests.RequestException) as error:
            reason = getattr(error, "explanation", None) or error
            progress(f"image base: cannot pull {PUBLISHED_BASE} ({reason}); using debootstrap")
        else:
            if _is_present(client, PUBLISHED_BASE):
                return PUBLISHED_BASE
    return _debootstrap(client, progress)


def _debootstrap(client: docker.DockerClient, progress: Progress) -> str:
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        found = "debootstrap is not installed" if program is None else "not root"
        raise DriverError(
            f"image base: {found}; expected root with debootstrap and debian-archive-keyring "
            f"installed, a {PUBLISHED_BASE} that can be pulled, or DRILL_IMAGE_BASE"
        )
    reference, mirror = _own_base(), debian_mirror(_apt_sources())
    progress(f"image base: debootstrap of {SUITE} (about half a minute)")
    # Not below /tmp, which may be mounted `nodev`: debootstrap makes device files.
    root = _cache_dir() / "debootstrap.unfinished"
    _remove_tree(root)  # of a run that was killed; the lock keeps it from being another's
    try:
        _run(
            [program, "--variant=minbase", SUITE, str(root), *([mirror] if mirror else [])],
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
    if tar.returncode or not _is_present(client, reference):
        raise DriverError(f"image base: import of {root} failed; expected {reference}")


def _apt_sources() -> list[str]:
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    files = [path for path in files if path.suffix in {".list", ".sources"} and path.is_file()]
    return [path.read_text() for path in files]


def _build_all(client: docker.DockerClient, recipes: list[Recipe], progress: Progress) -> None:
    # Two at once: apt mostly waits for the network and dpkg for one core.
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="image") as pool:
        builds = [pool.submit(_build, client, recipe, progress) for recipe in recipes]
        failures = [build.exception() for build in builds]
    for failure in failures:
        if failure is not None:
            raise failure


def _build(client: docker.DockerClient, recipe: Recipe, progress: Progress) -> None:
    pins = next((file for file in recipe.files if file.name == "requirements.txt"), None)
    wheels = _wheels(recipe, pins, progress) if pins else []
    context = context_tar([*recipe.files, *wheels])
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
        raise DriverError(f"image {recipe.name}: {error.msg}\n{_tail(output)}") from error
    except docker.errors.APIError as error:
        raise DriverError(f"image {recipe.name}: {error}; expected a build") from error
    progress(f"image {recipe.name}: built")


def _wheels(recipe: Recipe, pins: File, progress: Progress) -> list[File]:
    """Return the wheels that `pins` names, downloaded once into the cache."""
    target = {**recipe.build_args, "machine": platform.machine(), "python": PYTHON_IN_IMAGE}
    folder = _cache_dir() / "wheels" / content_hash([pins], target)
    if not folder.is_dir():
        progress(f"image {recipe.name}: downloading its Python wheels")
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _download(pins, unfinished, recipe.build_args)
        unfinished.rename(folder)  # so that a folder of that name is always whole
    return [file._replace(name=f"wheels/{file.name}") for file in context_files(folder)]


def _download(pins: File, folder: Path, build_args: Mapping[str, str]) -> None:
    requirements = folder / pins.name
    requirements.write_bytes(pins.content)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    abi = f"cp{PYTHON_IN_IMAGE.replace('.', '')}"
    target = ["--implementation=cp", f"--python-version={PYTHON_IN_IMAGE}"]
    target += [f"--abi={name}" for name in (abi, "abi3", "none")]
    machine = platform.machine()
    target += [f"--platform=manylinux{version}_{machine}" for version in MANYLINUX]
    # --no-deps, for everything is pinned; it also lets a package come as source where its authors
    # publish no wheel (python-etcd, ydiff). Those are built here, and must be pure Python.
    download = [*pip, "download", "--no-deps", *target, f"--dest={folder}", f"-r{requirements}"]
    environment = {**os.environ, **build_args}  # pip takes ${PATRONI_VERSION} from it
    _run(download, "wheels", environment)
    requirements.unlink()
    for source in sorted(folder.glob("*.tar.gz")):
        before = set(folder.glob("*.whl"))
        _run([*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", str(source)], "wheels")
        source.unlink()
        for wheel in set(folder.glob("*.whl")) - before:
            if not wheel.name.endswith("-none-any.whl"):
                raise DriverError(f"wheels: {wheel.name} is for this host; expected pure Python")


def _run(command: list[str], where: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        program = " ".join(command[:4])
        raise DriverError(
            f"{where}: `{program} ...` ended with {done.returncode}\n{_tail(done.stdout)}"
        )


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-LINES_OF_OUTPUT:])
