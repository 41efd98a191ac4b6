"""A continuum memory as a classifier: residual blocks with one update period each and a read-out; nothing else protects it.

Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 70-74; SGD as the error part, gradients averaged over each period. The
read-out starts at zero: at the usual scale, on residual streams as long as their inputs, its first readings are loud, and
unlearning them costs old tasks more than learning does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.kernels import bind, chain_step, continuum_step
from nlbench.kernels.block_step import BlockWeights
from nlbench.kernels.chain_step import Chain, Linear
from nlbench.kernels.softmax import cross_entropy
from nlbench.learners.config import CmsConfig
from nlbench.learners.initial import linear as initial_linear
from nlbench.nested.clocks import check_all_fire, check_periods
from nlbench.nested.continuum import Block, block
from nlbench.nested.layers import Draws, Tree, linear


class Cms(Learner):
    """Levels from slow to fast, so that a slow level's input does not drift with fast updates.

    An embedding (and the mix of a headwise memory) belongs to the slowest level, the read-out to the fastest; neither restarts
    in a nested memory. A pending partial chunk survives task boundaries.
    """

    def __init__(self, config: CmsConfig, problem: Problem) -> None:
        check_all_fire(config.periods, problem.steps)
        nested = config.variant == "nested"
        self._periods = check_periods(tuple(sorted(config.periods, reverse=True)), divisible=nested)
        draws, width = Draws(problem.seeds, seed_axis=True), config.width or problem.n_inputs
        trees = [
            {
                name: value.detach().to(problem.device)
                for name, value in Block(
                    width, config.hidden // len(self._periods), draws.within(f"period{period}")
                ).named_parameters()
            }
            for period in self._periods
        ]
        self._initials: list[Tree] = [_copies(tree) if nested and i else {} for i, tree in enumerate(trees)]
        if config.width:
            trees[0] |= _named("embedding", initial_linear(problem, "embedding", problem.n_inputs, width))
            self.permute_inputs = self._permute_inputs
        if config.variant == "headwise":
            trees[0]["mix"] = torch.full((len(problem.seeds), len(trees)), 1.0 / len(trees), device=problem.device)
        trees[-1] |= _named("readout", initial_linear(problem, "readout", width, problem.n_classes, gain=0.0))
        self._trees: list[Tree] = trees
        self._gathered: list[Tree] = [
            {name: torch.zeros_like(value) for name, value in tree.items()} if period > 1 or nested else {}
            for tree, period in zip(trees, self._periods, strict=True)
        ]
        op = continuum_step if config.variant == "headwise" else chain_step
        self._op = bind(op, problem.backend, trees[0]["up.weight"])
        self.backend = self._op.backend
        if op is chain_step:
            self._op.load()
        self._rate = config.rate
        self._reduction = config.reduction
        self._step = 0

    def observe(self, batch: Batch) -> Tensor:
        self._step += 1
        if "mix" in self._trees[0]:
            return self._observe_heads(batch)
        gathers = [bool(tree) for tree in self._gathered]
        targets = [waiting or tree for waiting, tree in zip(self._gathered, self._trees, strict=True)]
        factors = [1.0 if gather else -self._rate for gather in gathers]
        inputs = batch.inputs.flatten(2)
        chain, grown = _chain(self._trees), _chain(targets)
        loss = self._op.chain_step(chain, grown, factors, inputs, batch.labels, batch.classes)
        for level, period in enumerate(self._periods):
            if gathers[level] and self._step % period == 0:
                self._apply(level)
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return _forward(self._trees, inputs.flatten(2).expand(self._seeds, -1, -1))

    def _permute_inputs(self, order: Tensor) -> None:
        for tree in (self._trees[0], self._gathered[0]):
            if tree:
                weight = tree["embedding.weight"]
                tree["embedding.weight"] = weight.gather(2, order[:, None].expand_as(weight))

    def state_dict(self) -> dict[str, Tensor]:
        state = {"step": torch.tensor(self._step)}
        for period, *kinds in zip(self._periods, self._trees, self._initials, self._gathered, strict=True):
            for kind, tree in zip(("parameters", "initial", "accumulated"), kinds, strict=True):
                state |= {f"{period}.{kind}.{name}": value for name, value in tree.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._step = int(state["step"])
        device = self._trees[0]["up.weight"].device

        def trees(kind: str) -> list[Tree]:
            prefixes = [f"{period}.{kind}." for period in self._periods]
            return [
                {name.removeprefix(own): state[name].to(device).clone() for name in state if name.startswith(own)}
                for own in prefixes
            ]

        self._trees, self._initials, self._gathered = trees("parameters"), trees("initial"), trees("accumulated")

    def memory_bytes(self) -> dict[str, int]:
        """Parameters and initial states, and one gradient accumulator for every level that waits longer than one step."""

        def size(trees: list[Tree]) -> int:
            return sum(value.nbytes // len(value) for tree in trees for value in tree.values())

        return {"parameters": size(self._trees) + size(self._initials), "optimizer": size(self._gathered)}

    def diagnostics(self) -> dict[str, Tensor]:
        return {f"level.{period}.updates": torch.full((self._seeds,), float(self._step // period)) for period in self._periods}

    @property
    def _seeds(self) -> int:
        return len(self._trees[0]["up.weight"])

    def _apply(self, level: int) -> None:
        """Move a level whose period ends; at its parent's boundary a nested one restarts from an initial state that has learned
        from the same gradients (FOMAML).
        """
        share = self._rate / (self._periods[level] if self._reduction == "mean" else 1)
        tree, waiting, initial = self._trees[level], self._gathered[level], self._initials[level]
        for name, value in tree.items():
            value.sub_(waiting[name], alpha=share)
        if initial and self._step % self._periods[level - 1] == 0:
            for name, value in initial.items():
                tree[name].copy_(value.sub_(waiting[name], alpha=share))
        for value in waiting.values():
            value.zero_()

    def _observe_heads(self, batch: Batch) -> Tensor:
        leaves = [{name: value.detach().requires_grad_() for name, value in tree.items()} for tree in self._trees]
        with torch.enable_grad():
            logits = _forward(leaves, batch.inputs.flatten(2))
        loss, delta = cross_entropy(logits.detach(), batch.labels, batch.classes)
        found = iter(torch.autograd.grad(logits, [value for tree in leaves for value in tree.values()], delta))
        gradients = [[next(found) for _ in tree] for tree in leaves]
        parameters, gathered = ([list(tree.values()) for tree in trees] for trees in (self._trees, self._gathered))
        self._op.continuum_step(
            parameters,
            gradients,
            gathered,
            periods=self._periods,
            rates=[self._rate] * len(leaves),
            step=self._step,
            reduction=self._reduction,
        )
        return loss


def _forward(trees: list[Tree], inputs: Tensor) -> Tensor:
    x = linear(inputs, trees[0]["embedding.weight"], trees[0]["embedding.bias"]) if "embedding.weight" in trees[0] else inputs
    if "mix" in trees[0]:
        x = torch.einsum("lsnd,sl->snd", torch.stack([block(tree, x) for tree in trees]), trees[0]["mix"])
    else:
        for tree in trees:
            x = block(tree, x)
    return linear(x, trees[-1]["readout.weight"], trees[-1]["readout.bias"])


def _chain(trees: list[Tree]) -> Chain:
    names = [f"{part}.{kind}" for part in ("norm", "up", "down") for kind in ("weight", "bias")]
    first, last = trees[0], trees[-1]
    return Chain(
        Linear(first["embedding.weight"], first["embedding.bias"]) if "embedding.weight" in first else None,
        tuple(BlockWeights(*(tree[name] for name in names)) for tree in trees),
        Linear(last["readout.weight"], last["readout.bias"]),
    )


def _named(name: str, values: tuple[Tensor, Tensor]) -> Tree:
    return {f"{name}.weight": values[0], f"{name}.bias": values[1]}


def _copies(tree: Tree) -> Tree:
    return {name: value.clone() for name, value in tree.items()}
