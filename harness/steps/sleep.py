"""`sleep`: let time pass."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import model_validator

from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Model


@register
class Sleep(Model):
    """Let a fixed time pass. A `wait` for a condition says more; this is for what has none.

    Attributes:
        duration: how long; written alone: `sleep: 5s`.
    """

    name: ClassVar[str] = "sleep"

    duration: Duration

    @model_validator(mode="before")
    @classmethod
    def _scalar(cls, value: object) -> object:
        return value if isinstance(value, Mapping) else {"duration": value}

    def perform(self, world: World) -> Mapping[str, Json]:
        world.clock.sleep(self.duration)
        return {"nodes": [], "seconds": self.duration}
