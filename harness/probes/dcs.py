"""What the cluster agreed on: each change in the DCS, as its members tell it."""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from harness.protocols import Change, Stage
from harness.registry import register
from harness.scenario import Model

KEPT_CHARACTERS = 2048
AGAIN_AFTER_S = 0.5


@register
class Dcs(Model):
    """Watches every member of the DCS, or the one that it is sent to.

    A change is recorded once, from whichever member told it first: one that is cut off or dead
    tells late or never, and then another one is heard.
    """

    name: ClassVar[str] = "dcs"

    def run(self, stage: Stage) -> None:
        members = stage.dcs_members
        if stage.job.through in members:
            members = [stage.job.through]
        watch = _Watch(stage)
        tasks = [stage.clock.spawn(partial(watch.follow, m), f"dcs/{m}") for m in members]
        for task in tasks:
            task.join()


@dataclass
class _Watch:
    stage: Stage
    told: dict[tuple[str, int], object] = field(default_factory=dict)

    def follow(self, member: str) -> None:
        """Listen to one member, and when it is lost, again from where it stopped."""
        since: int | None = None
        while not self.stage.stopped:
            since = self._listen(member, since)
            self.stage.clock.sleep(AGAIN_AFTER_S)

    def _listen(self, member: str, since: int | None) -> int | None:
        """Tell of changes until the member is lost; return the newest one's revision."""
        for change in self.stage.dcs_changes(member, since):
            if self.stage.stopped:
                break
            if change is None:
                continue
            if change.key != "term":
                since = max(since or 0, change.revision)
            self._tell(member, change)
        return since

    def _tell(self, member: str, change: Change) -> None:
        # `setdefault` decides in one step who is first, also between threads.
        mine = object()
        if self.told.setdefault((change.key, change.revision), mine) is not mine:
            return
        process = f"dcs/{member}"
        if change.key == "term":
            self.stage.note(process, "dcs-term", json.loads(change.value or "null"))
            return
        value = change.value if change.value is None else change.value[:KEPT_CHARACTERS]
        seen = {"key": change.key, "value": value, "revision": change.revision}
        self.stage.note(process, "dcs", seen)
