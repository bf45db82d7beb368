"""The bootstrap script, run against a PATH that holds only what each test puts there.

The stand-ins for system tools note each call, so that a test sees what was asked of the machine.
"""

import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
BASH = shutil.which("bash") or "/bin/bash"
# All that the script may count on: from Debian's essential packages.
ESSENTIAL = (
    *(
        "cat",
        "dirname",
        "flock",
        "grep",
        "ln",
        "mkdir",
        "mv",
        "readlink",
        "rm",
        "sed",
        "nice",
        "setsid",
    ),
    *("sha256sum", "sleep", "tail"),
)
# An engine that answers once and ends, so that no test leaves one behind.
ENGINE = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
door.settimeout(10)
there = door.accept()[0]
there.recv(99)
there.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nOK")
there.close()
"""


class Machine:
    """A made-up computer: a checkout, a PATH, a user, and at first neither Docker nor packages."""

    def __init__(self, root: Path) -> None:
        self.checkout = root / "checkout"
        self.state = self.checkout / ".drill"
        self.bin = root / "bin"
        self.calls = root / "calls"
        self.socket = root / "engine"
        self.checkout.mkdir()
        self.bin.mkdir()
        # Links to the real programs lie apart from the stand-ins, so that none is written through.
        self.essential = root / "essential"
        self.essential.mkdir()
        for name in ESSENTIAL:
            (self.essential / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        for name in ("drill", "pyproject.toml", "requirements.lock"):
            shutil.copy(CHECKOUT / name, self.checkout)
        self.user(1000)
        self.pip()
        self.tool(
            "python3",
            f'if [[ "$1 $2" == "-m venv" ]]; then mkdir -p "$3/bin"; '
            f'ln -s {self.bin}/venv-python "$3/bin/python"; else exec {sys.executable} "$@"; fi',
        )

    def tool(self, name: str, script: str = "") -> None:
        """Put a program on the PATH that notes its call, then does what `script` says."""
        path = self.bin / name
        # A new file, since the old one may be running.
        path.unlink(missing_ok=True)
        path.write_text(f'#!{BASH}\necho "{name} $*" >>{self.calls}\n{script}\n')
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.tool("id", f"echo {number}")

    def pip(self, script: str = "") -> None:
        """Make virtual environments whose pip does this, and whose harness echoes its words."""
        self.tool(
            "venv-python",
            f'case "$*" in "-Im pip "*) {script or ":"} ;; "-P -m harness"*) echo "$*" ;; '
            f'*) exec {sys.executable} "$@" ;; esac',
        )

    def debian(self) -> None:
        """Be root on Debian, where every package is to be had."""
        self.user(0)
        self.tool("dpkg")
        self.tool(
            "apt-get",
            "declare -A gives=([docker.io]=dockerd [iproute2]=ip)\n"
            'for word in "$@"; do\n'
            f"  cd {self.bin}; tool=${{gives[$word]:-$word}}\n"
            "  [[ ! -e not-yet-$tool ]] || mv not-yet-$tool $tool\n"
            "done",
        )
        self.tool("dockerd", f"exec {sys.executable} -c '{ENGINE}' {self.socket}")
        for name in ("iptables", "ip", "debootstrap"):
            self.tool(name)
        for name in ("dockerd", "iptables", "ip", "debootstrap"):
            (self.bin / name).rename(self.bin / f"not-yet-{name}")

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        base = {"PATH": f"{self.bin}:{self.essential}", "DOCKER_HOST": f"unix://{self.socket}"}
        return subprocess.Popen(
            [BASH, str(self.checkout / "drill"), *words],
            env=base | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def drill(self, *words: str, **environment: str) -> tuple[int, str, str]:
        with self.start(*words, **environment) as process:
            out, err = process.communicate(timeout=20)
        assert "Traceback" not in err
        return process.returncode, out.strip(), err

    def asked(self, tool: str) -> list[str]:
        lines = self.calls.read_text().splitlines()
        return [line.removeprefix(f"{tool} ") for line in lines if line.startswith(f"{tool} ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def engine(machine: Machine) -> Iterator[None]:
    """A Docker engine that answers for as long as the test lasts."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(machine.socket))
        door.listen()

        def answer() -> None:
            while True:
                there, _ = door.accept()
                with there:
                    if not there.recv(99):
                        return
                    there.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(machine.socket))
        thread.join()


def test_is_valid_bash():
    subprocess.run([BASH, "-n", str(CHECKOUT / "drill")], check=True)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--help",
        "run --help",
        "run a.yaml --backend sim",
        "run --backend=aws a.yaml",
        "validate run",
        "plan a.yaml",
    ],
)
def test_without_need_of_docker_none_is_looked_for(machine, words):
    """A command that starts no container works where no Docker is, and gets its words unchanged."""
    code, out, err = machine.drill(*words.split())
    assert (code, out) == (0, f"-P -m harness {words}".strip())
    assert "Docker" not in err


@pytest.mark.parametrize(
    "words", ["run a.yaml", "run --backend docker a.yaml", "--json run a", "test", "heal", "ps"]
)
def test_without_docker_a_user_is_told_and_nothing_changes(machine, words):
    """Where we may not install, the message says what to do and no file is made."""
    machine.tool("apt-get")
    code, out, err = machine.drill(*words.split())
    assert (code, out) == (3, "")
    assert "group docker" in err
    assert str(machine.socket) in err
    assert not machine.state.exists()
    assert machine.asked("apt-get") == []


def test_without_docker_another_system_is_left_alone(machine):
    """Root on a system without apt-get is told the same."""
    machine.user(0)
    code, _, err = machine.drill("test")
    assert code == 3
    assert "Debian" in err
    assert not machine.state.exists()


def test_a_remote_engine_is_not_replaced(machine):
    """An engine named by DOCKER_HOST on another machine cannot be started from here."""
    machine.debian()
    code, _, err = machine.drill("test", DOCKER_HOST="tcp://127.0.0.1:1")
    assert code == 3
    assert "tcp://127.0.0.1:1" in err
    assert "unset DOCKER_HOST" in err
    assert machine.asked("apt-get") == []


def test_docker_is_installed_and_started(machine):
    """Root on Debian gets the packages and a running engine, each with a line that says so."""
    machine.debian()
    code, out, err = machine.drill("run", "a", DRILL_DOCKER_DATA_ROOT="/data root")
    assert (code, out) == (0, "-P -m harness run a")
    install = machine.asked("apt-get")[1]
    assert "--no-install-recommends docker.io" in install
    assert install.endswith("iptables iproute2 debootstrap")
    assert machine.asked("dockerd") == [f"--data-root /data root --host unix://{machine.socket}"]
    assert "installing docker.io" in err
    assert "starting the Docker engine" in err


def test_an_engine_that_gives_up_is_reported(machine):
    """The engine's own last words are shown, at once and not after a time-out."""
    machine.debian()
    machine.tool("dockerd", "echo no space left; exit 1")
    code, _, err = machine.drill("test")
    assert code == 3
    assert "  | no space left" in err
    assert "see .drill/dockerd.log" in err


def test_a_failed_installation_is_reported(machine):
    """What apt-get said is shown, with the place of the whole of it."""
    machine.debian()
    machine.tool("apt-get", "echo no such mirror; exit 100")
    code, _, err = machine.drill("test")
    assert code == 3
    assert "  | no such mirror" in err
    assert "failed; see .drill/apt.log" in err


@pytest.mark.usefixtures("engine")
def test_tools_of_image_builds_are_added_to_a_running_engine(machine):
    """Only what is missing is installed, and only for the commands that build images."""
    machine.debian()
    machine.tool("iptables")
    assert machine.drill("ps")[0] == 0
    assert machine.asked("apt-get") == []
    assert machine.drill("up")[0] == 0
    assert machine.asked("apt-get")[1].endswith("--no-install-recommends iproute2 debootstrap")
    assert machine.drill("up")[0] == 0
    assert len(machine.asked("apt-get")) == 2


@pytest.mark.usefixtures("engine")
def test_with_an_engine_the_tools_of_image_builds_are_not_insisted_on(machine):
    """Without a package mirror a command goes on, since its images may be there already."""
    machine.debian()
    machine.tool("apt-get", "exit 100")
    code, out, err = machine.drill("up")
    assert (code, out) == (0, "-P -m harness up")
    assert "going on without iptables iproute2 debootstrap" in err


@pytest.mark.parametrize("root", [True, False])
def test_an_old_python_is_refused(machine, root):
    """A Python that is too old counts as none; where packages have no newer one, that is said."""
    if root:
        machine.debian()
    machine.tool("python3", "exit 1")
    code, _, err = machine.drill("--help")
    assert code == 3
    assert "no Python 3.11 or newer" in err
    assert bool(machine.calls.read_text().count("apt-get")) == root
    assert machine.state.exists() == root


def test_a_python_without_venv_names_the_package(machine):
    """Debian keeps venv in a package of its own; a user gets the command that installs it."""
    machine.tool("python3", f'[[ $* != *ensurepip* ]] || exit 1; exec {sys.executable} "$@"')
    code, _, err = machine.drill("--help")
    assert code == 3
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in err


def test_the_environment_is_made_once(machine):
    """A second start makes nothing; a changed lock makes a new one beside the old."""
    machine.drill()
    first = (machine.state / "venv").resolve()
    assert "making" not in machine.drill()[2]
    assert len(machine.asked("venv-python -Im")) == 2
    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# newer\n")
    assert "making the virtual environment" in machine.drill()[2]
    second = (machine.state / "venv").resolve()
    assert {path.name for path in (machine.state / "venvs").iterdir()} == {first.name, second.name}
    assert first != second


def test_a_moved_checkout_gets_its_own_environment(machine):
    """Programs in a virtual environment name its folder, so that of a copy is of no use."""
    machine.drill()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert "making the virtual environment" in machine.drill()[2]


def test_a_failed_environment_is_made_again(machine):
    """What pip said is shown, and the next start begins anew."""
    machine.pip("echo no such wheel; exit 1")
    code, _, err = machine.drill()
    assert code == 3
    assert "  | no such wheel" in err
    assert "making the virtual environment failed; see .drill/venv.log" in err
    machine.pip()
    assert machine.drill()[0] == 0


def test_an_interrupted_environment_is_made_again(machine, tmp_path):
    """A stop in the middle ends pip too, and the next start begins anew."""
    started = tmp_path / "started"
    os.mkfifo(started)
    machine.pip(f"echo $$ >{started}; exec sleep 60")
    process = machine.start()
    pip = os.pidfd_open(int(started.read_text()))
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "interrupted; run it again" in err
    assert select.select([pip], [], [], 5)[0], "pip goes on"
    os.close(pip)
    machine.pip()
    assert machine.drill()[0] == 0


def test_one_of_two_makes_the_environment(machine, tmp_path):
    """The second of two starts waits for the first and uses what it made."""
    started = tmp_path / "started"
    os.mkfifo(started)
    machine.pip(f"echo >{started}; cat {started}")
    first = machine.start("a")
    started.read_text()
    second = machine.start("b")
    assert second.stderr is not None
    assert "waiting for another drill" in second.stderr.readline()
    machine.pip()
    started.write_text("go on")
    for process in (first, second):
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert len(machine.asked("python3 -m venv")) == 1


@pytest.mark.parametrize("name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_ca_reaches_pip(machine, tmp_path, name):
    """Whichever variable names the CA, pip trusts it."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    machine.pip("echo trusts $PIP_CERT")
    machine.tool("grep", "exit 1")  # this machine's own pip may be configured
    machine.drill(**{name: str(bundle)})
    assert f"trusts {bundle}" in (machine.state / "venv.log").read_text()


def test_a_ca_configured_for_pip_is_left_alone(machine, tmp_path):
    """What is configured for pip itself goes before what is meant for other programs."""
    for name in ("pip.conf", "ca.pem"):
        (tmp_path / name).write_text("[global]\ncert = /elsewhere/ca.pem\n")
    machine.pip("echo trusts ${PIP_CERT:-its own}")
    machine.drill(
        PIP_CONFIG_FILE=str(tmp_path / "pip.conf"), SSL_CERT_FILE=str(tmp_path / "ca.pem")
    )
    assert "trusts its own" in (machine.state / "venv.log").read_text()
