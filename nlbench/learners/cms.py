"""A continuum memory as a classifier: embedding, residual blocks with one update period each, read-out; nothing else protects it.

Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 70-74; SGD as the error part, gradients averaged over each period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.kernels.softmax import cross_entropy
from nlbench.learners.initial import linear as initial_linear
from nlbench.nested.clocks import check_all_fire
from nlbench.nested.continuum import Block, block
from nlbench.nested.continuum_update import LevelState, Plan, Rule, continuum_update
from nlbench.nested.layers import Draws, Tree, linear
from nlbench.specs.learners import CmsConfig


class Cms(Learner):
    """Levels from slow to fast, so that a slow level's input does not drift with fast updates.

    The embedding (and the mix of a headwise memory) belongs to the slowest level, the read-out to the fastest; neither restarts
    in a nested memory. A pending partial chunk survives task boundaries.
    """

    def __init__(self, config: CmsConfig, problem: Problem) -> None:
        check_all_fire(config.periods, problem.steps)
        periods = tuple(sorted(config.periods, reverse=True))
        nested = config.variant == "nested"
        self._plan = Plan(periods, reduction=config.reduction, restart="fomaml" if nested else "none", seed_axis=True)
        self._rules: list[Rule] = [_descent(config.rate)] * len(periods)
        draws = Draws(problem.seeds, seed_axis=True)
        trees: list[Tree] = [
            {
                name: value.detach().to(problem.device)
                for name, value in Block(
                    config.width, config.hidden // len(periods), draws.within(f"period{period}")
                ).named_parameters()
            }
            for period in periods
        ]
        initials = [tree if nested and i else {} for i, tree in enumerate(trees)]
        trees[0] = trees[0] | _named("embedding", initial_linear(problem, "embedding", problem.n_inputs, config.width))
        if config.variant == "headwise":
            trees[0]["mix"] = torch.full((len(problem.seeds), len(periods)), 1.0 / len(periods), device=problem.device)
        trees[-1] = trees[-1] | _named("readout", initial_linear(problem, "readout", config.width, problem.n_classes))
        self._levels = tuple(LevelState(tree, initial) for tree, initial in zip(trees, initials, strict=True))
        self._step = 0

    def observe(self, batch: Batch) -> Tensor:
        self._step += 1
        leaves = [{name: value.detach().requires_grad_() for name, value in level.parameters.items()} for level in self._levels]
        with torch.enable_grad():
            logits = _forward(leaves, batch.inputs.flatten(2))
        loss, delta = cross_entropy(logits.detach(), batch.labels, batch.classes)
        flat = torch.autograd.grad(logits, [value for tree in leaves for value in tree.values()], delta)
        gradients = iter(flat)
        trees = [{name: next(gradients) for name in tree} for tree in leaves]
        self._levels = continuum_update(self._levels, trees, self._rules, self._plan, self._step)
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        trees = [level.parameters for level in self._levels]
        return _forward(trees, inputs.flatten(2).expand(len(trees[0]["embedding.weight"]), -1, -1))

    def permute_inputs(self, order: Tensor) -> None:
        slowest = self._levels[0]
        index = order[:, None].expand_as(slowest.parameters["embedding.weight"])

        def permuted(tree: Tree) -> Tree:
            return tree | {"embedding.weight": tree["embedding.weight"].gather(2, index)} if tree else tree

        permuted_level = replace(slowest, parameters=permuted(slowest.parameters), accumulated=permuted(slowest.accumulated))
        self._levels = (permuted_level, *self._levels[1:])

    def state_dict(self) -> dict[str, Tensor]:
        state = {"step": torch.tensor(self._step)}
        for period, level in zip(self._plan.periods, self._levels, strict=True):
            state |= {f"{period}.parameters.{name}": value for name, value in level.parameters.items()}
            state |= {f"{period}.initial.{name}": value for name, value in level.initial.items()}
            state |= {f"{period}.accumulated.{name}": value for name, value in level.accumulated.items()}
            state |= {f"{period}.pending": torch.tensor(level.pending), f"{period}.updates": torch.tensor(level.updates)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._step = int(state["step"])
        device = next(iter(self._levels[0].parameters.values())).device

        def tree(prefix: str) -> Tree:
            return {
                name.removeprefix(prefix): value.to(device).clone() for name, value in state.items() if name.startswith(prefix)
            }

        self._levels = tuple(
            LevelState(
                tree(f"{period}.parameters."),
                tree(f"{period}.initial."),
                accumulated=tree(f"{period}.accumulated."),
                pending=int(state[f"{period}.pending"]),
                updates=int(state[f"{period}.updates"]),
            )
            for period in self._plan.periods
        )

    def memory_bytes(self) -> dict[str, int]:
        """Parameters and initial states, and one gradient accumulator for every level that waits longer than one step."""

        def size(tree: Tree) -> int:
            return sum(value.nbytes // len(value) for value in tree.values())

        waiting = [size(level.parameters) for level, period in zip(self._levels, self._plan.periods, strict=True) if period > 1]
        held = sum(size(level.parameters) + size(level.initial) for level in self._levels)
        return {"parameters": held, "optimizer": sum(waiting)}

    def diagnostics(self) -> dict[str, Tensor]:
        seeds = len(next(iter(self._levels[0].parameters.values())))
        return {
            f"level.{period}.updates": torch.full((seeds,), float(level.updates))
            for period, level in zip(self._plan.periods, self._levels, strict=True)
        }


def _forward(trees: list[Tree], inputs: Tensor) -> Tensor:
    x = linear(inputs, trees[0]["embedding.weight"], trees[0]["embedding.bias"])
    if "mix" in trees[0]:
        heads = torch.stack([block(tree, x) for tree in trees])
        x = torch.einsum("lsnd,sl->snd", heads, trees[0]["mix"])
    else:
        for tree in trees:
            x = block(tree, x)
    return linear(x, trees[-1]["readout.weight"], trees[-1]["readout.bias"])


def _named(name: str, values: tuple[Tensor, Tensor]) -> Tree:
    return {f"{name}.weight": values[0], f"{name}.bias": values[1]}


def _descent(rate: float) -> Rule:
    def rule(parameters: Tree, gradient: Tree, state: None) -> tuple[Tree, None]:
        return {name: value - rate * gradient[name] for name, value in parameters.items()}, state

    return rule
