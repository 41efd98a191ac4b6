"""What a `[stream]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nlbench.specs.sources import SOURCES, SourceName
from nlbench.specs.streams import Scenario, StreamConfig


class SourceConfig(StreamConfig):
    """A stream cut from one data set."""

    source: SourceName

    @property
    def data(self) -> dict[str, str]:
        return {self.source: SOURCES[self.source].checksum}


class Split(SourceConfig):
    """Classes dealt out to tasks: `classes / tasks` of them each."""

    kind: Literal["split"]
    class_order: Literal["natural", "seed"] = "natural"
    train_quota: Annotated[int, Field(ge=1)] | None = None
    test_quota: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _divides(self) -> Split:
        classes = SOURCES[self.source].n_classes
        if classes % self.tasks:
            raise ValueError(f"tasks: must divide the {classes} classes of {self.source}, got {self.tasks}")
        if self.class_order == "seed" and (self.train_quota is None or self.test_quota is None):
            raise ValueError(
                'class_order: "seed" needs train_quota and test_quota (samples per class), so that all seeds have equal tasks'
            )
        return self


class Permuted(SourceConfig):
    """Every task is the whole data set seen through its own fixed pixel permutation, the first task included; samples are
    pixel vectors.
    """

    kind: Literal["permuted"]
    tasks: Annotated[int, Field(ge=1)] = 10
    scenario: Scenario = "domain-il"


class Rotated(SourceConfig):
    """Task i is the whole data set rotated by (i - 1) * degrees, bilinear; the first task is upright."""

    kind: Literal["rotated"]
    tasks: Annotated[int, Field(ge=1)] = 10
    degrees: Annotated[float, Field(gt=0, lt=360)] = 18.0
    scenario: Scenario = "domain-il"


class Arrays(StreamConfig):
    """Tasks given as arrays through the Python interface; `checksum` identifies their contents."""

    kind: Literal["arrays"]
    checksum: str

    @property
    def data(self) -> dict[str, str]:
        return {"arrays": self.checksum}
