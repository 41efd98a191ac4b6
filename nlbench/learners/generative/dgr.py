"""Deep generative replay (DGR): old tasks are learned again from samples that a generator makes and the former network labels.

Source: Shin, Lee, Kim & Kim 2017 (arXiv 1705.08690), section 3, with the variational autoencoder and the share 1/t of van de Ven
& Tolias 2018 (arXiv 1809.10635), section 3. S is the network, G the generator, S° and G° both when the last task ended; in task t

    x' = G°(z),  z ~ N(0, I),  y' = the class of S°(x') among those met in former tasks
    L(θ) = 1/t CE(S; batch) + (1 - 1/t) CE(S; x', y') + 1/t L_G(batch) + (1 - 1/t) L_G(x')

with L_G as in `autoencoder`, of a decoder that is normal or, for pixels from 0 to 1, Bernoulli as in theirs. Both learn at once,
with one optimizer, and share no parameter.

Told    when a task ends.
Stored  G, S° and G°; no sample.
Cost    over plain fine-tuning as many generated samples a step, and a forward and a backward pass of G over both.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners import draws
from nlbench.learners.former import Former
from nlbench.learners.generative.autoencoder import Autoencoder
from nlbench.learners.generative.config import DgrConfig
from nlbench.learners.gradient import GradientLearner, cross_entropy
from nlbench.networks.network import Tree


class Dgr(GradientLearner):
    """A network and a generator of what it has learned."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    exempt: ClassVar[Mapping[str, str]] = {"one pass": "from the second task on it learns generated samples beside each batch"}
    made_anew: ClassVar[tuple[str, ...]] = (*GradientLearner.made_anew, "_generator")

    def __init__(self, config: DgrConfig, problem: Problem) -> None:
        """Raises `NlbenchError` where the task is told: generated samples are labelled among the classes of all."""
        if problem.scenario == "task-il":
            raise NlbenchError(
                "dgr labels what it generates among the classes of all tasks, not in task-il, where they do not compete.",
                'Choose a stream of another scenario, or --set stream.scenario="class-il".',
            )
        self._generator = Autoencoder(config.hidden, config.latent, config.variance, config.decoder)
        self._generated = config.generated
        self.former = Former()
        self.ended = 0
        """Tasks that ended."""
        self.met, self.known = (
            torch.zeros(len(problem.seeds), problem.n_classes, dtype=torch.bool, device=problem.device) for _ in range(2)
        )
        """(S, C): the labels met; those met in tasks that ended."""
        self._starts = draws.starts(problem.seeds, "dgr", problem.device)
        self.drawn = torch.zeros((), dtype=torch.int64, device=problem.device)
        """Normal numbers drawn so far."""
        bounded = config.decoder == "bernoulli"
        self.strayed: Tensor | None = torch.zeros((), dtype=torch.bool, device=problem.device) if bounded else None
        """Whether a number outside 0 to 1 was learned, where that matters."""
        self._looked = 0
        super().__init__(config, problem)  # samples of its trial are no pixels, and are not looked at
        self._looked = -1

    def beside(self) -> Tree:
        return self._generator.initial(self._problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.former.take_in(parameters, self.state)

    def phase(self) -> Hashable:
        return self.ended

    def loss(self, batch: Batch) -> Tensor:
        share = 1 / (self.ended + 1)
        losses = share * self._losses(batch.inputs, batch.labels, batch.classes)
        if not self.ended:
            return losses
        inputs, labels = self.generated(self._generated or batch.labels.shape[1])
        return losses + (1 - share) * self._losses(inputs, labels, batch.classes)

    @torch.no_grad()
    def generated(self, n: int) -> tuple[Tensor, Tensor]:
        """Return n samples (S, n, *input_shape) of former tasks and their labels (S, n)."""
        parameters = self.former.parameters
        inputs = self._generator.generated(parameters, self._normals(n)).unflatten(2, self._problem.input_shape)
        features, _ = self.network.apply(parameters, self.former.state, inputs, training=False)
        logits = self.head.logits(parameters, features, None)
        return inputs, logits.masked_fill(~self.known[:, None], -torch.inf).argmax(2)

    def after_step(self, batch: Batch) -> None:
        self.met.scatter_(1, batch.labels, True)
        if self.strayed is not None:
            self.strayed |= ~((batch.inputs >= 0) & (batch.inputs <= 1)).all()
            if self._looked < self.ended:  # the host waits for it in the first step of a task alone
                self._looked = self.ended
                self._refuse_strayed()

    def end_task(self) -> None:
        self._refuse_strayed()
        self.former.keep(self.parameters, self.state)
        self.known.copy_(self.met)
        self.ended += 1

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.former.held(), self.known, self.drawn]

    def _refuse_strayed(self) -> None:
        if self.strayed is not None and self.strayed:
            raise NlbenchError(
                'learner.decoder: "bernoulli" needs samples of numbers from 0 to 1, and some lie outside.',
                "Choose a source whose pixels are not standardised, such as --set stream.source=mnist-unscaled, "
                "or --set learner.decoder=gaussian.",
            )

    def _losses(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Return the mean loss (S,) of network and generator."""
        bounds = self._generator.losses(self.parameters, inputs.flatten(2), self._normals(labels.shape[1]))
        return cross_entropy(self.logits(inputs, None, training=True), labels, classes) + bounds.mean(1)

    def _normals(self, n: int) -> Tensor:
        """Return (S, n, Z) normal numbers that were not drawn before."""
        size = n * self._generator.latent
        counters = self.drawn + torch.arange(size, device=self.drawn.device)
        self.drawn += size
        return draws.normals(self._starts, counters).unflatten(1, (n, -1))
