"""Data sets made by a program from named draws: the same everywhere, with nothing to fetch.

mnist1d follows the recipe of Greydanus and Kobak 2020 (Scaling Down Deep Learning with MNIST-1D, arXiv 2011.14439), section 2 and
the constants of its package mnist1d 0.0.2; the draws are our own, so the samples are others of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.seeds import FIXED, generator
from nlbench.sources.source import Arrays, Source, held_out
from nlbench.specs import digest


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated(Source):
    """A data set that is made when it is read, by `make(recipe)`: inputs and labels of all its samples, no two alike, of which a
    fixed fifth of each class is the test set.
    """

    make: Callable[[Mapping[str, float]], tuple[NDArray[np.float32], NDArray[np.int64]]]
    recipe: Mapping[str, float]

    @property
    def checksum(self) -> str:
        """A digest of what it is made by."""
        return digest({"name": self.name, "recipe": dict(self.recipe)})

    def read(self, data: Path | None = None) -> Arrays:
        inputs, labels = self.make(self.recipe)
        test = held_out(self.name, labels)
        return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])


TEMPLATES: Final = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
"""The heights of a pen that draws each digit from left to right."""


def one_dimensional_digits(recipe: Mapping[str, float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return digits as curves (N, steps, 1), brought to mean 0 and deviation 1 over all, and their labels (N,)."""
    from scipy.ndimage import gaussian_filter1d

    n, longest = int(recipe["samples"]), TEMPLATES.shape[1] + int(recipe["padding_most"])
    labels = np.arange(n) % len(TEMPLATES)
    shapes = (TEMPLATES - TEMPLATES.mean(1, keepdims=True)) / TEMPLATES.std(1, keepdims=True)
    shapes = (shapes - shapes[:, :1]) / 6
    draws = {name: generator(FIXED, f"mnist1d/{name}") for name in ("padding", "scale", "shift", "tilt", "waves", "noise")}
    padding = draws["padding"].integers(int(recipe["padding_least"]), int(recipe["padding_most"]) + 1, n)
    scale, tilt = (1 + recipe["scale"] * (draws["scale"].random(n) - 0.5)), recipe["tilt"] * (draws["tilt"].random(n) - 0.5)
    shift = draws["shift"].integers(0, int(recipe["shift_most"]), n)
    curves, drawn = np.zeros((n, longest)), np.zeros((n, longest), dtype=bool)
    for row, label in enumerate(labels):
        pen = np.concatenate([shapes[label], np.zeros(padding[row])])
        places = np.linspace(0, len(pen) - 1, longest)
        curves[row] = np.roll(scale[row] * np.interp(places, np.arange(len(pen)), pen), shift[row])
        drawn[row] = np.roll(places < TEMPLATES.shape[1], shift[row])
    waves = gaussian_filter1d(recipe["waves"] * draws["waves"].standard_normal((n, longest)), recipe["waves_width"], axis=1)
    curves = np.where(drawn, curves, waves) + recipe["noise"] * draws["noise"].standard_normal((n, longest))
    curves -= tilt[:, None] * np.linspace(-0.5, 0.5, longest)
    places = np.linspace(0, longest - 1, int(recipe["steps"]))
    curves = np.stack([np.interp(places, np.arange(longest), curve) for curve in curves])
    return ((curves - curves.mean()) / curves.std()).astype(np.float32)[..., None], labels


MNIST1D: Final = Generated(
    name="mnist1d",
    title="MNIST-1D: 5,000 digits as curves of 40 steps; a fixed stratified fifth is the test set",
    kind="sequence",
    input_shape=(40, 1),
    n_classes=10,
    modality="series",
    origin="Greydanus and Kobak 2020, arXiv 2011.14439; the recipe, with draws of our own",
    licence="made here (Apache-2.0)",
    make=one_dimensional_digits,
    recipe={
        "samples": 5000,
        "padding_least": 36,
        "padding_most": 60,
        "scale": 0.4,
        "shift_most": 48,
        "waves": 0.25,
        "waves_width": 2.0,
        "noise": 0.02,
        "tilt": 0.75,
        "steps": 40,
    },
)
