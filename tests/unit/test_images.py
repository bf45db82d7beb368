"""harness/drivers/docker/images.py: what makes a new image, and what goes into its build."""

import tarfile

import pytest

from harness.drivers import supported
from harness.drivers.docker import debian, images
from harness.drivers.docker.images import File
from harness.errors import DriverError
from tests.unit.test_minio import engine

__all__ = ["engine"]  # a fixture

FILES = (File("Dockerfile", 0o644, b"FROM x"), File("entrypoint.sh", 0o755, b"exec y"))
ARGS = {"BASE": "drill/base:1", "PGVERSION": "17"}


@pytest.mark.parametrize(("dcs", "other"), [("etcd", "zookeeper"), ("zookeeper", "etcd")])
def test_a_cluster_needs_the_image_of_its_own_store(dcs, other):
    """The other one's is not waited for; who makes all images makes both."""
    assert {dcs, other} <= set(images.ALL)
    assert set(images.needed(dcs)) == set(images.ALL) - {other}


def test_the_hash_is_that_of_content_alone(tmp_path):
    """Two checkouts of one tree are one image: no times, no owners, no order of listing."""
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        (folder / "Dockerfile").write_text("FROM x")
        (folder / "deep" / "script").write_text("exec y")
    (tmp_path / "two" / "Dockerfile").chmod(0o600)  # another umask
    one, two = (images.context_files(tmp_path / name) for name in ("one", "two"))
    assert images.content_hash(one, ARGS) == images.content_hash(two, ARGS)
    assert images.content_hash(FILES, ARGS) == images.content_hash(reversed(FILES), ARGS)
    assert images.content_hash(FILES, ARGS) == images.content_hash(
        FILES, dict(reversed(ARGS.items()))
    )


@pytest.mark.parametrize(
    ("files", "args"),
    [
        ((File("Dockerfile", 0o644, b"FROM y"), FILES[1]), ARGS),
        ((File("Dockerfile2", 0o644, b"FROM x"), FILES[1]), ARGS),
        ((FILES[0], File("entrypoint.sh", 0o644, b"exec y")), ARGS),  # no longer executable
        ((FILES[0],), ARGS),
        ((*FILES, File("empty", 0o644, b"")), ARGS),
        ((File("Dockerfile", 0o644, b"FROM xentrypoint.sh"), File("", 0o755, b"exec y")), ARGS),
        (FILES, {**ARGS, "BASE": "drill/base:2"}),
        (FILES, {**ARGS, "PGVERSION": "16"}),
        (FILES, {**ARGS, "PATRONI_VERSION": "4.0.7"}),
        (FILES, {}),
    ],
)
def test_any_change_of_bytes_or_arguments_changes_the_hash(files, args):
    assert images.content_hash(files, args) != images.content_hash(FILES, ARGS)


def test_a_tag_is_twelve_hexadecimal_digits():
    recipe = images.Recipe("spilo", FILES, "drill/base:1", {})
    repository, tag = recipe.reference.split(":")
    assert repository == "drill/spilo"
    assert len(tag) == 12
    assert int(tag, 16) >= 0


def test_bytecode_is_no_part_of_an_image(tmp_path):
    """The unit tests import the image's scripts, which leaves bytecode beside them."""
    (tmp_path / "Dockerfile").write_text("FROM x")
    before = images.context_files(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "configure.cpython-311.pyc").write_bytes(b"\0")
    assert images.context_files(tmp_path) == before


def test_the_build_context_is_the_same_archive_each_time():
    """The engine's cache compares it; it also must not tell who built it."""
    packed = images.context_tar(FILES).read()
    assert packed == images.context_tar(FILES).read()
    with tarfile.open(fileobj=images.context_tar(FILES)) as tar:
        entries = tar.getmembers()
    assert [(entry.name, entry.mode) for entry in entries] == [(f.name, f.mode) for f in FILES]
    assert {(entry.mtime, entry.uid, entry.uname) for entry in entries} == {(0, 0, "")}


def test_arguments_with_a_default_are_read_from_the_dockerfile():
    text = "ARG BASE\nFROM ${BASE}\nARG PGVERSION=17\n# ARG NO=1\nARG PATRONI_VERSION=4.1.5\n"
    assert images.dockerfile_args(text) == {"PGVERSION": "17", "PATRONI_VERSION": "4.1.5"}


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        ([], None),
        (["deb http://mirror.example/debian bookworm main\n"], "http://mirror.example/debian"),
        (["deb http://mirror.example/debian/ bookworm main\n"], "http://mirror.example/debian"),
        (["Types: deb\nURIs: http://mirror.example/debian\n"], "http://mirror.example/debian"),
        (["# deb http://old.example/debian x main\n"], None),
        (["deb https://mirror.example/debian bookworm main\n"], None),
        (["deb http://mirror.example/debian-security x main\n"], None),
        (["deb http://mirror.example/ubuntu noble main\n"], None),
        (["deb [arch=amd64] http://a.example/debian x main"], "http://a.example/debian"),
        (["deb http://x.example/other x main", "URIs: http://b.example/debian"],
         "http://b.example/debian"),
    ],
)  # fmt: skip
def test_the_mirror_is_the_hosts_own_when_it_is_debian_over_http(sources, mirror):
    assert images.debian_mirror(sources) == mirror


@pytest.mark.parametrize("name", images.ALL)
def test_each_image_starts_from_the_given_base_and_pins_its_packages(name):
    files = {
        file.name: file.content.decode() for file in images.context_files(images.IMAGE_DIR / name)
    }
    instructions = [line for line in files["Dockerfile"].splitlines() if not line.startswith("#")]
    assert instructions[:1] == ["ARG BASE"]
    assert instructions[1].startswith("FROM ${BASE}")
    for line in files.get("requirements.txt", "").splitlines():
        pin = line.split("#")[0].strip()
        assert not pin or pin.count("==") == 1, line


@pytest.mark.parametrize("name", [name for name in images.ALL if name != "nemesis"])
def test_only_the_nemesis_runs_as_root(name):
    text = (images.IMAGE_DIR / name / "Dockerfile").read_text()
    assert [line for line in text.splitlines() if line.startswith("USER ")]


def test_no_image_is_told_of_a_private_ca():
    """A CA of the builder's network must not be trusted by what is built."""
    for name in images.ALL:
        for file in images.context_files(images.IMAGE_DIR / name):
            assert b"SSL_CERT_FILE" not in file.content
            assert b"PIP_CERT" not in file.content


# --- the release of Debian that an image is built on -------------------------------------------

OLDER = {"PGVERSION": "15"}


def test_an_older_postgresql_is_built_on_an_older_debian(engine):
    """And by that release's Python; what has no PostgreSQL in it stays where it is."""
    bases = {suite: images._own_base(suite) for suite in debian.SUITES}
    spilo, etcd = images._recipes(engine, ["spilo", "etcd"], bases, OLDER)
    assert spilo.base.startswith("drill/base:bookworm-")
    assert (spilo.suite.name, spilo.suite.python) == ("bookworm", "3.11")
    assert etcd.base.startswith("drill/base:trixie-")
    assert etcd.reference == images._recipe("etcd", etcd.base, {}).reference


def test_the_dockerfiles_own_version_is_the_newest_debians(engine):
    """A cluster of PostgreSQL 17 and one that names none are of the same image."""
    bases = {suite: images._own_base(suite) for suite in debian.SUITES}
    (named,) = images._recipes(engine, ["spilo"], bases, {"PGVERSION": "17"})
    (bare,) = images._recipes(engine, ["spilo"], bases, {})
    assert named == bare
    assert bare.suite is debian.NEWEST


@pytest.mark.parametrize("version", ["16", "14", "17.2", "", "bookworm"])
def test_a_version_that_no_debian_has_is_refused(engine, version):
    """Before anything is built or pulled."""
    refusal = rf"PGVERSION '{version}'; expected 15 \(bookworm\) or 17 \(trixie\)"
    with pytest.raises(DriverError, match=refusal):
        images.ensure(engine, pytest.fail, ["spilo"], {"PGVERSION": version})
    assert engine.built == {}


def test_an_older_base_may_be_named_too(engine, monkeypatch, tmp_path):
    """Each by a variable of its own: the newest's is no base for an older PostgreSQL."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DRILL_IMAGE_BASE", "newest:1")
    engine.present |= {"newest:1": {}, "older:1": {}}
    assert images._bases_at_hand(engine, ["etcd"], OLDER) == {debian.NEWEST: "newest:1"}
    assert images._bases_at_hand(engine, ["etcd", "spilo"], OLDER) == {}, "one is missing"
    monkeypatch.setenv("DRILL_IMAGE_BASE_BOOKWORM", "older:1")
    found = images._bases_at_hand(engine, ["etcd", "spilo"], OLDER)
    assert sorted(found.values()) == ["newest:1", "older:1"]


def test_the_planner_knows_which_versions_there_are():
    """A scenario that asks for another one is skipped before anything starts."""
    known = supported("docker")
    assert known is not None
    assert known.facts["postgres"] == (15, 17)
