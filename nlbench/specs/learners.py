"""Learner declarations: `baselines/<name>.toml` as frozen models, one config per kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from nlbench.specs.hope import HopeConfig
from nlbench.specs.model import Closed, canonical, digest

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class MlpConfig(Closed):
    """Plain fine-tuning of a ReLU multi-layer perceptron with SGD."""

    kind: Literal["mlp"]
    hidden: Widths = (256, 256)
    rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class CmsConfig(Closed):
    """A continuum memory: residual blocks, each updated once in its own period of steps (Behrouz et al. 2025, eq. 70-74).

    sequential  a chain; every level keeps what it learned
    nested      the same chain; at its parent's boundary a level returns to its initial state, which learns by FOMAML
    headwise    all levels read the embedding, and a learned mix of them is read out
    """

    kind: Literal["cms"]
    width: PositiveInt = 128
    hidden: PositiveInt = 128
    periods: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (1, 16, 256)
    variant: Literal["sequential", "nested", "headwise"] = "sequential"
    rate: PositiveFloat = 0.1
    reduction: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _distinct(self) -> CmsConfig:
        if len(set(self.periods)) != len(self.periods):
            raise ValueError(f"periods: must differ from each other, as a level is named by its period, got {list(self.periods)}")
        return self


class HopeBlocksConfig(Closed):
    """HOPE blocks over the parts of one sample, learned by plain gradients: no memory but the weights persists."""

    kind: Literal["hope-blocks"]
    mixer: Literal["titans", "attention"] = "titans"
    width: PositiveInt = 64
    heads: PositiveInt = 4
    depth: PositiveInt = 1
    tokens: PositiveInt = 4
    periods: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (1, 16, 256)
    rate: PositiveFloat = 0.1


class ChanceConfig(Closed):
    """The most frequent label so far, whatever the input."""

    kind: Literal["chance"]


class ExternalConfig(Closed):
    """A learner from outside the package: `package.module:Class`, `./file.py:Class`, or a registered entry point."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _plain(self) -> ExternalConfig:
        for key, value in self.options.items():
            try:
                canonical({key: value})
            except (TypeError, ValueError):
                raise ValueError(f"{key}: must be finite and no date or time, got {value!r}") from None
        return self


BUILT_IN: dict[str, type[Closed]] = {
    "mlp": MlpConfig,
    "cms": CmsConfig,
    "hope": HopeConfig,
    "hope-blocks": HopeBlocksConfig,
    "chance": ChanceConfig,
}
"""The config of every built-in kind."""


class LearnerSpec(Closed):
    """A recipe as it applies to one stream: its `[on."<stream>"]` table already merged in."""

    name: str
    title: str = ""
    learner: SerializeAsAny[Closed]
    presents: Literal["sequential", "cumulative"] = "sequential"
    """`cumulative` retrains from the same start on all tasks so far before every row: the joint bound."""
    batch: PositiveInt | None = None
    """Overrides the stream's batch; None keeps it."""
    source_digest: str = ""
    """Digest of the external file that holds the learner, if any."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """Where each value comes from; not part of the identity."""

    def identity(self) -> dict[str, Any]:
        """Return what makes two learners the same: everything but name, title and provenance."""
        learner = self.learner.model_dump(mode="json")
        if self.source_digest:  # its contents identify a file, wherever it lies
            learner["kind"] = learner["kind"].rpartition("/")[2]
        return {
            "learner": learner,
            "presents": self.presents,
            "batch": self.batch,
            "source_digest": self.source_digest,
        }

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of `identity`."""
        return digest(self.identity())
