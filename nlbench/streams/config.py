"""What a `[stream]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from nlbench import catalog, sources
from nlbench.errors import SpecError
from nlbench.sources import Source
from nlbench.specs.kinds import unresolved
from nlbench.specs.problems import near
from nlbench.specs.reading import Reading
from nlbench.specs.streams import Scenario, StreamConfig


def _known(name: str) -> str:
    names = catalog.extensions("sources")
    if ":" in name or name in names or sources.is_data(name):
        return name
    rule = f"must be one of {', '.join(sorted(names))}, ./file, or package.module:NAME{near(name, names)}"
    raise PydanticCustomError("source_unknown", "{rule}", {"rule": rule})


class SourceConfig(StreamConfig):
    """A stream cut from one data set."""

    optional: ClassVar[tuple[str, ...]] = (*StreamConfig.optional, "read")

    source: Annotated[str, AfterValidator(_known)]
    read: Reading | None = None
    _found: Source | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _find(self, info: ValidationInfo) -> Self:
        if self.source is None:  # arrays given in Python
            return self
        if catalog.built_in("sources", self.source) or not unresolved(info):
            self._found = sources.find(self.source, self.read)
        return self

    def identity(self) -> dict[str, Any]:
        """Return what it says, a file without its folder: its contents identify it, wherever it lies."""
        said = super().identity()
        if self.source is not None and sources.is_data(self.source):
            path = Path(self.source)
            folder = path.suffix.lower() not in sources.ENDS
            said["source"] = f"{path.name or path.resolve().name}/" if folder else path.name
        if self.read is not None:
            said["read"] = self.read.model_dump(mode="json", exclude_defaults=True)
            if self.read.test:
                said["read"]["test"] = Path(self.read.test).name
        return said

    @property
    def found(self) -> Source:
        """The data set itself."""
        return sources.find(self.source, self.read) if self._found is None else self._found


def _order(value: object) -> str | tuple[int, ...]:
    if value in ("natural", "seed", "extreme"):
        return str(value)
    if isinstance(value, list | tuple) and all(type(each) is int for each in value) and sorted(value) == list(range(len(value))):
        return tuple(value)
    raise PydanticCustomError("class_order", 'must be "natural", "seed", "extreme", or every class once, from 0')


class Split(SourceConfig):
    """Classes dealt out to tasks: `classes / tasks` of them each, or as many as `sizes` says, one number a task.

    class_order  as the data set numbers them; drawn by the seed; alike ones together: from class 0 on the next is always the one
                 left whose mean training sample is nearest; or the classes themselves
    """

    optional: ClassVar[tuple[str, ...]] = (*SourceConfig.optional, "sizes")

    kind: Literal["split"]
    sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)] | None = None
    class_order: Annotated[Literal["natural", "seed", "extreme"] | tuple[int, ...], BeforeValidator(_order)] = "natural"
    train_quota: Annotated[int, Field(ge=1)] | None = None
    test_quota: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, said: Any) -> Any:
        """Let `sizes` say how many tasks there are, where nothing recurs."""
        if isinstance(said, dict) and isinstance(said.get("sizes"), list | tuple) and "tasks" not in said:
            return {**said, "tasks": len(said["sizes"])}
        return said

    @model_validator(mode="after")
    def _divides(self) -> Split:
        classes = None if self._found is None else self._found.n_classes
        if self.sizes is not None:
            if len(self.sizes) != self.different:
                raise ValueError(f"sizes: must be one for each of the {self.different} tasks, got {len(self.sizes)}")
            if classes is not None and sum(self.sizes) != classes:
                raise ValueError(f"sizes: must add up to the {classes} classes of {self.source}, got {sum(self.sizes)}")
        elif classes is not None and classes % self.different:
            hint = "; unequal tasks are written as sizes"
            raise ValueError(f"tasks: must divide the {classes} classes of {self.source}, got {self.different}{hint}")
        if classes is not None and isinstance(self.class_order, tuple) and len(self.class_order) != classes:
            raise ValueError(f"class_order: must hold the {classes} classes of {self.source}, got {len(self.class_order)}")
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


class Instances(SourceConfig):
    """Every task has all classes and its own share of the samples, of training and test set, equal but for one of each class."""

    kind: Literal["instances"]
    scenario: Scenario = "domain-il"


class Drifting(SourceConfig):
    """Every task is the whole data set, changed a step further; the first task is unchanged. Of raw inputs x with mean m and
    deviation s in the training set, task i shows, with d = (i - 1) * step:

    brightness  x + d
    contrast    m + (x - m) * (1 - step)^(i - 1)
    noise       x + d * s * N(0, 1)
    shift       x + d * s * u, u of N(0, 1), one for all samples: each number moves by its own amount
    """

    kind: Literal["drifting"]
    change: Literal["brightness", "contrast", "noise", "shift"]
    step: Annotated[float, Field(gt=0, lt=1)]
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


class Arrays(SourceConfig):
    """Tasks as they are given: by a file that says each row's task, by a function, or in Python."""

    optional: ClassVar[tuple[str, ...]] = (*SourceConfig.optional, "source")

    kind: Literal["arrays"]
    source: Annotated[str, AfterValidator(_known)] | None = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _all_tasks(self) -> Arrays:
        there = getattr(self._found, "n_tasks", self.tasks)
        if there != self.different:
            raise ValueError(f"tasks: must be the {there} of {self.source}, got {self.different}")
        return self

    @property
    def found(self) -> Source:
        if self.source is None:
            raise SpecError(["stream.source: is required: ./file with a column of tasks, or ./file.py:function"])
        return super().found
