"""What a `[learner.network]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nlbench.specs.model import Closed, canonical

PositiveInt = Annotated[int, Field(ge=1)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class MlpConfig(Closed):
    """Fully connected layers with ReLU; takes samples of any shape, flattened."""

    kind: Literal["mlp"]
    hidden: Widths = (256, 256)


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

    @model_validator(mode="after")
    def _fits(self) -> SequenceConfig:
        if self.width % self.heads:
            raise ValueError(f"heads: must divide width {self.width}, got {self.heads}")
        if self.context == "stream" and (self.mixer == "attention" or self.tokens is not None):
            raise ValueError('context = "stream" is of mixer "titans", whose state is of one size, and takes samples as tokens')
        if len(set(self.periods)) != len(self.periods):
            raise ValueError(f"periods: must differ, as a level is named by its period, got {list(self.periods)}")
        return self


class ModuleConfig(Closed):
    """Any torch.nn.Module, made once a seed by `build`: `./net.py:function`, `package.module:Class`.

    `build` is called with `options`, and with `input_shape` and `n_classes` if it has parameters of these names.
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
