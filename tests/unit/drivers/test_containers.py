"""The parts of harness.drivers.docker.containers that need no engine."""

import io
import tarfile

from harness.drivers.docker.containers import _tar
from harness.drivers.docker.vault import Share


def test_an_archive_of_secrets_is_for_one_user() -> None:
    """Files and their folders; whoever else is on the machine cannot even list them."""
    share = Share(9000, {"root-user": "ä", "certs/CAs/ca.crt": "x", "certs/public.crt": "y"})
    with tarfile.open(fileobj=io.BytesIO(_tar(share))) as archive:
        members = archive.getmembers()
        assert [(m.name, m.isdir(), m.mode) for m in members] == [
            ("certs", True, 0o500),
            ("certs/CAs", True, 0o500),
            ("root-user", False, 0o400),
            ("certs/CAs/ca.crt", False, 0o400),
            ("certs/public.crt", False, 0o400),
        ]
        assert {(m.uid, m.gid) for m in members} == {(9000, 9000)}
        file = archive.extractfile("root-user")
        assert file is not None
        assert file.read() == "ä".encode()
