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
