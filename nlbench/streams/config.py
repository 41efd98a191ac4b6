"""What a `[stream]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from nlbench import catalog, sources
from nlbench.errors import SpecError
from nlbench.sources import Source
from nlbench.specs.kinds import unresolved
from nlbench.specs.problems import near
from nlbench.specs.streams import Scenario, StreamConfig


def _known(name: str) -> str:
    names = catalog.extensions("sources")
    if ":" in name or name in names:
        return name
    rule = f"must be one of {', '.join(sorted(names))}, or package.module:NAME{near(name, names)}"
    raise PydanticCustomError("source_unknown", "{rule}", {"rule": rule})


class SourceConfig(StreamConfig):
    """A stream cut from one data set."""

    source: Annotated[str, AfterValidator(_known)]
    _found: Source | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _find(self, info: ValidationInfo) -> Self:
        if catalog.built_in("sources", self.source) or not unresolved(info):
            self._found = sources.find(self.source)
        return self

    @property
    def found(self) -> Source:
        """The data set itself."""
        return sources.find(self.source) if self._found is None else self._found


class Split(SourceConfig):
    """Classes dealt out to tasks: `classes / tasks` of them each."""

    kind: Literal["split"]
    class_order: Literal["natural", "seed"] = "natural"
    train_quota: Annotated[int, Field(ge=1)] | None = None
    test_quota: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _divides(self) -> Split:
        if self._found is not None and self._found.n_classes % self.tasks:
            classes = self._found.n_classes
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


class Relabelled(SourceConfig):
    """Every task is the whole data set under its own labels: the first under the data set's, each later one under others for
    every class, no two tasks agreeing on any. What is right in one task is wrong in the next.
    """

    kind: Literal["relabelled"]
    scenario: Literal["domain-il", "task-il"] = "domain-il"

    @model_validator(mode="after")
    def _enough_classes(self) -> Relabelled:
        if self._found is not None and self.different > self._found.n_classes:
            rule = f"as many labellings that disagree on every class as there are classes, {self._found.n_classes}"
            raise ValueError(f"tasks: must be at most {rule}, got {self.different}; fewer can recur: recurrence.different")
        return self

    @property
    def conflicts(self) -> bool:
        return self.scenario == "domain-il" and self.different > 1


class Arrays(StreamConfig):
    """Tasks given as arrays through the Python interface."""

    kind: Literal["arrays"]

    @property
    def found(self) -> Source:
        """No declaration names arrays: they are what `nlbench.stream_from_arrays` was given."""
        raise SpecError(['stream.kind: "arrays" streams are made in Python with nlbench.stream_from_arrays'])
