"""What a `[learner.network]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nlbench.specs.model import Closed, canonical

PositiveInt = Annotated[int, Field(ge=1)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class MlpConfig(Closed):
    """Fully connected layers with ReLU; takes samples of any shape, flattened."""

    kind: Literal["mlp"]
    hidden: Widths = (256, 256)
    spread: Annotated[float, Field(gt=0)] | None = None
    """First weights are drawn from a normal distribution of this deviation, cut at two of it, and biases are as much, its head's
    too. None: as torch.nn.Linear starts."""

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a spread of which nothing is said: networks of before there was one stay the same."""
        said: dict[str, Any] = handler(self)
        return said if self.spread is not None else {key: value for key, value in said.items() if key != "spread"}


class ConvolutionalConfig(Closed):
    """3x3 convolutions, each with ReLU and a 2x2 maximum: for images."""

    kind: Literal["convolutional"]
    channels: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (16, 32, 64)


class Resnet18Config(Closed):
    """ResNet-18 with a stem for small images (He et al. 2016; `width` 20 as in GEM, 64 as published)."""

    kind: Literal["resnet18"]
    width: PositiveInt = 20
    norm: Literal["batch", "group"] = "batch"
    groups: PositiveInt = 4
    """Of channels, for group norm."""

    @model_validator(mode="after")
    def _divisible(self) -> Resnet18Config:
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"groups: must divide width {self.width}, got {self.groups}")
        return self


class InputsConfig(Closed):
    """The inputs themselves, which are features already, such as those of a pretrained network."""

    kind: Literal["inputs"]


class RandomReluConfig(Closed):
    """Frozen random features relu(W x + b)."""

    kind: Literal["random-relu"]
    width: PositiveInt = 512
    bias: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the biases, in standard deviations of the features of standardised inputs."""


class RandomFourierConfig(Closed):
    """Frozen random features whose inner products are about the kernel exp(-gamma |x - y|² / n) of samples of n numbers."""

    kind: Literal["random-fourier"]
    width: PositiveInt = 512
    gamma: Annotated[float, Field(gt=0)] = 1.0


class RandomConvolutionConfig(Closed):
    """Frozen random filters, rectified and averaged in `grid` x `grid` regions: for images."""

    kind: Literal["random-convolution"]
    filters: PositiveInt = 128
    size: PositiveInt = 3
    grid: PositiveInt = 2


class MemoriesConfig(Closed):
    """How the memories of "titans" learn; each value is explained by `nlbench.nested.self_referential.SelfReferentialConfig`."""

    form: Literal["mlp", "linear", "matrix"] = "linear"
    objective: Literal["l2", "dot"] = "l2"
    read: Literal["stale", "exact"] = "stale"
    retention: Literal["init", "zero"] = "init"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    adaptive_query: bool = False
    self_modifying: bool = True


class SequenceConfig(Closed):
    """Blocks over tokens: an embedding, then memories or attention followed by a continuum memory, residual (Behrouz et al. 2025,
    eq. 94-97).

    titans     self-referential Titans and a continuum memory: HOPE
    attention  causal attention and a continuum memory: Hope-Attention, and with one period a transformer
    """

    kind: Literal["sequence"]
    mixer: Literal["titans", "attention"] = "titans"
    context: Literal["sample", "stream"] = "sample"
    """Whose tokens follow each other: those of a sample, with memories that start fresh for each; or samples, one token each,
    with memories that go on along the stream as it is learned and are read at test."""
    tokens: PositiveInt | None = None
    """Equal parts that a sample is cut into; None: the rows of an image, the steps of a sequence."""
    chunk: PositiveInt = 2
    """Tokens between two states of the memories. The task's gradient reaches what makes keys and rates only through later chunks
    of a sample, or of a batch."""
    width: PositiveInt = 64
    heads: PositiveInt = 4
    depth: PositiveInt = 1
    memory: Literal["sequential", "nested", "headwise"] = "sequential"
    """The continuum memory: a chain, a chain whose levels restart, or heads."""
    periods: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (1, 16, 256)
    """Of its levels, for methods that keep them."""
    memories: MemoriesConfig | None = None
    """How the memories of "titans" learn; None: each makes its own targets, and all are residual and linear."""

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out memories of which nothing is said: networks of before they had a table stay the same."""
        said: dict[str, Any] = handler(self)
        return said if self.memories is not None else {key: value for key, value in said.items() if key != "memories"}

    @model_validator(mode="after")
    def _fits(self) -> SequenceConfig:
        if self.width % self.heads:
            raise ValueError(f"heads: must divide width {self.width}, got {self.heads}")
        if self.context == "stream" and (self.mixer == "attention" or self.tokens is not None):
            raise ValueError('context = "stream" is of mixer "titans", whose state is of one size, and takes samples as tokens')
        if self.memories is not None and self.mixer == "attention":
            raise ValueError('memories: are of mixer "titans"; attention has none')
        if len(set(self.periods)) != len(self.periods):
            raise ValueError(f"periods: must differ, as a level is named by its period, got {list(self.periods)}")
        return self


class ValleyConfig(Closed):
    """A curved valley in two parameters, to race optimizers on (Behrouz et al. 2025, eq. 53)."""

    kind: Literal["valley"]
    curvature: Annotated[float, Field(gt=0)] = 10.0
    bend: float = 1.0
    frequency: float = 1.0
    reached: Annotated[float, Field(gt=0)] = 0.01
    """The height of the floor: a sample is told right below it."""
    spread: Annotated[float, Field(ge=0)] = 0.3
    """Standard deviation of where seeds start, about (-3.5, 2)."""


class ModuleConfig(Closed):
    """Any torch.nn.Module, made once a seed by `build`: `./net.py:function`, `package.module:Class`.

    `build` is called with `options`, and with `input_shape` and `n_classes` if it has parameters of these names. Lazy layers take
    their sizes from one call on zeros.
    """

    kind: Literal["module"]
    build: str
    outputs: Literal["logits", "features"] = "logits"
    """What the module returns: one number a class, or features (B, F) that a head is put on."""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _plain(self) -> ModuleConfig:
        for key, value in self.options.items():
            try:
                canonical({key: value})
            except (TypeError, ValueError):
                raise ValueError(f"options.{key}: must be finite and no date or time, got {value!r}") from None
        return self
