"""What a claim may hold of its runs: a value, an order, an equality or a slope of a metric's means."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nlbench.specs import Closed

Words = Annotated[str, Field(min_length=1)]
Band = Annotated[float, Field(gt=0)]


class Value(Closed):
    """The mean is a number, give or take a band. Of a reduced form it is not judged.

    cause   why it is missed, as a run has shown: what differs from the source's programme
    """

    kind: Literal["value"]
    of: Words
    metric: Words = "average_accuracy"
    equals: float
    band: Band
    cause: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.of,)


class Order(Closed):
    """One mean is above another by at least a margin, seed by seed."""

    kind: Literal["order"]
    above: Words
    below: Words
    metric: Words = "average_accuracy"
    by: Annotated[float, Field(ge=0)] = 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        return self.above, self.below

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if self.above == self.below:
            raise ValueError(f"above and below must be two runs, got {self.above!r} twice")
        return self


class Equality(Closed):
    """Two means are the same within a band, seed by seed."""

    kind: Literal["equality"]
    of: Words
    to: Words
    metric: Words = "average_accuracy"
    within: Band

    @property
    def cells(self) -> tuple[str, ...]:
        return self.of, self.to

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if self.of == self.to:
            raise ValueError(f"of and to must be two runs, got {self.of!r} twice")
        return self


class Slope(Closed):
    """Over several runs a metric rises with a number by at least so much for each 1 of it; by less than nothing, it falls."""

    kind: Literal["slope"]
    of: Annotated[list[Words], Field(min_length=2)]
    against: Annotated[list[float], Field(min_length=2)]
    metric: Words = "average_accuracy"
    at_least: float = 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.of)

    @model_validator(mode="after")
    def _a_number_a_run(self) -> Self:
        if len(self.of) != len(self.against):
            raise ValueError(f"against must have a number for each of the {len(self.of)} runs, got {len(self.against)}")
        if len(set(self.against)) == 1:
            raise ValueError("against must hold different numbers")
        if len(set(self.of)) < len(self.of):
            raise ValueError(f"of must name different runs, got {self.of}")
        return self


Statement = Annotated[Value | Order | Equality | Slope, Field(discriminator="kind")]
