"""harness/wire/dcs.py: one door to either store, and the program that names the leader."""

import pytest

from harness.errors import DriverError
from harness.wire import dcs
from harness.wire.etcd import Etcd
from harness.wire.zookeeper import ZooKeeper

MEMBERS = {"one": "127.0.0.1", "two": "127.0.0.2"}


def test_each_kind_has_its_usual_port():
    """Unless it is told another one."""
    assert dcs.dcs_of("etcd", MEMBERS, "/x/") == Etcd(MEMBERS, "/x/", 2379)
    assert dcs.dcs_of("zookeeper", MEMBERS, "/x/") == ZooKeeper(MEMBERS, "/x/", 2181)
    assert dcs.dcs_of("zookeeper", MEMBERS, "/x/", 7) == ZooKeeper(MEMBERS, "/x/", 7)


@pytest.mark.parametrize(("kind", "store"), [("etcd", Etcd), ("zookeeper", ZooKeeper)])
def test_the_program_names_the_leader(kind, store, monkeypatch, capsys):
    """One line, empty when nobody leads; why there is none, when no quorum answers."""
    held = {"leader": "pg-2", "config": "{}"}

    def read(self: Etcd | ZooKeeper, *, deadline_s: float) -> dict[str, str]:
        assert (dict(self.members), self.prefix, deadline_s) == (MEMBERS, "/service/drill/", 2)
        if not held:
            raise DriverError("dcs: no answer from a quorum")
        return held

    monkeypatch.setattr(store, "read", read)
    words = [kind, "/service/drill/", "one=127.0.0.1", "two=127.0.0.2"]
    assert dcs.main(words) == 0
    assert capsys.readouterr().out == "pg-2\n"
    del held["leader"]
    assert dcs.main(words) == 0
    assert capsys.readouterr().out == "\n"
    held.clear()
    assert dcs.main(words) == 1
    assert "no answer from a quorum" in capsys.readouterr().err
