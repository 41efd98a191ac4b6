"""A variational autoencoder of all seeds at once, which generates what looks like the samples it has learned.

Source: Kingma & Welling 2014 (arXiv 1312.6114), eq. 10, with a decoder that is normal about its answer, or a Bernoulli one (their
appendix C.1) whose answer is how likely each pixel is bright.

    L(x) = R(x, g(z)) + 1/2 Σ_i (μ_i² + σ_i² - 1 - log σ_i²),   z = μ + σ ε,  (μ, log σ²) = f(x),  ε ~ N(0, I)
    R(x, y) = |x - y|² / (2 variance)                           gaussian
    R(x, y) = -Σ_d (x_d log y_d + (1 - x_d) log(1 - y_d))       bernoulli: x is in [0, 1], and g ends in a sigmoid

Shapes: S seeds, B samples, D numbers in one, Z in a code.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.networks import initial, layers
from nlbench.networks.network import Tree


class Autoencoder:
    """Fully connected layers with ReLU and their mirror, `generator.encoder0`, …, `generator.decoder0`, …; it keeps no tensor."""

    def __init__(
        self, hidden: tuple[int, ...], latent: int, variance: float, decoder: Literal["gaussian", "bernoulli"] = "gaussian"
    ) -> None:
        self._hidden, self.latent, self._variance = hidden, latent, variance
        self._bernoulli = decoder == "bernoulli"

    def initial(self, problem: Problem) -> Tree:
        """Return the first parameters, {name: (S, …)}."""
        n, (least, *_) = problem.n_inputs, reversed(self._hidden)
        encoder = [*pairwise((n, *self._hidden)), (least, 2 * self.latent)]
        decoder = pairwise((self.latent, *reversed(self._hidden), n))
        found: Tree = {}
        for part, sizes in (("encoder", encoder), ("decoder", decoder)):
            for i, (d_in, d_out) in enumerate(sizes):
                found |= initial.linear(problem.seeds, f"generator.{part}{i}", d_in, d_out)
        return {name: value.to(problem.device) for name, value in found.items()}

    def generated(self, parameters: Tree, codes: Tensor) -> Tensor:
        """Return samples (S, B, D) of codes (S, B, Z)."""
        answers = self._through(parameters, "decoder", codes)
        return answers.sigmoid() if self._bernoulli else answers

    def losses(self, parameters: Tree, samples: Tensor, noise: Tensor) -> Tensor:
        """Return L of each sample, (S, B), of samples (S, B, D) and ε (S, B, Z)."""
        means, logs = self._through(parameters, "encoder", samples).split(self.latent, 2)
        codes = means + (logs / 2).exp() * noise
        return (
            self._errors(samples, self._through(parameters, "decoder", codes))
            + (means.square() + logs.exp() - 1 - logs).sum(2) / 2
        )

    def _errors(self, samples: Tensor, answers: Tensor) -> Tensor:
        """Return R of each sample, (S, B), of the decoder's answers before a sigmoid."""
        if self._bernoulli:
            return F.binary_cross_entropy_with_logits(answers, samples, reduction="none").sum(2)
        return (samples - answers).square().sum(2) / (2 * self._variance)

    def _through(self, parameters: Tree, part: str, x: Tensor) -> Tensor:
        last = len(self._hidden)
        for i in range(last):
            x = torch.relu(layers.linear(parameters, f"generator.{part}{i}", x))
        return layers.linear(parameters, f"generator.{part}{last}", x)
