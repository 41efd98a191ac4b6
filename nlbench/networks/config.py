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
