"""When and how the levels of a continuum memory change: pure functions of explicit state.

One step: forward with every level as it is, loss, backward; then each level adds its gradient to its accumulator, and the levels
whose period divides the step apply what they gathered. In a nested memory a level that reaches its parent's boundary then moves
its initial state and restarts from it. Nothing happens at step 0; partial chunks stay pending until they are due or flushed.

Source: Nested Learning (arXiv 2512.24695), eq. 71 with C terms instead of C + 1, eq. 72 with restarts every C_s steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.clocks import check_periods, due
from nlbench.nested.layers import Tree
from nlbench.nested.transfer import reptile

Accumulate = Literal["grad", "update"]
Reduction = Literal["mean", "sum"]
RateScale = Literal["none", "inverse", "sqrt"]
Restart = Literal["none", "fomaml", "reptile"]

Rule = Callable[[Tree, Tree, Any], tuple[Tree, Any]]
"""(parameters, gradient, rule state) -> (new parameters, new rule state); the first call of a level gets the state None. The
gradient lacks the parameters that `continuum_update` got none for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The clock and the arithmetic of all levels, in the order of `periods`.

    accumulate    "grad": sum gradients, one rule call at the boundary; "update": sum the rule's outputs (eq. 71 to the letter)
    reduction     of the C accumulated terms: their mean or their sum
    rate_scale    what multiplies a level's displacement: 1, 1 / C or √C. A mean with 1 / C slows an Adam-like rule C² times
    trust_ratio   if given, > 0: ‖Δθ‖ ≤ trust_ratio · ‖θ‖ for each level (and seed)
    restart       how a restarting level's initial state learns: FOMAML (its last chunk's gradient, its parent's rule) or Reptile
    restart_rate  Reptile's ρ, in (0, 1]; 1 never forgets, which is the sequential memory
    seed_axis     whether the tensors have a seed axis: the trust ratio is then kept seed by seed
    """

    periods: tuple[int, ...]
    accumulate: Accumulate = "grad"
    reduction: Reduction = "mean"
    rate_scale: RateScale = "none"
    trust_ratio: float | None = None
    restart: Restart = "none"
    restart_rate: float = 0.5
    seed_axis: bool = False

    def __post_init__(self) -> None:
        check_periods(self.periods, divisible=self.restart != "none")
        for name, known in (
            ("accumulate", Accumulate),
            ("reduction", Reduction),
            ("rate_scale", RateScale),
            ("restart", Restart),
        ):
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known))
        if self.trust_ratio is not None and not self.trust_ratio > 0:
            raise NlbenchError(f"trust_ratio: must be > 0, got {self.trust_ratio}.", "None sets no bound.")
        if not 0 < self.restart_rate <= 1:
            raise NlbenchError(f"restart_rate: must be in (0, 1], got {self.restart_rate}.", "1 is the sequential memory.")
        if self.accumulate == "update" and self.restart == "fomaml":
            raise NlbenchError(
                "restart: FOMAML needs the gradient of the last chunk, and accumulate='update' keeps none.",
                "Use accumulate='grad' or restart='reptile'.",
            )

    def parent(self, level: int) -> int | None:
        """The level with the next longer period, None for the slowest."""
        slower = [index for index, period in enumerate(self.periods) if period > self.periods[level]]
        return min(slower, key=lambda index: self.periods[index], default=None)

    def scale(self, level: int) -> float:
        """What multiplies the level's displacement."""
        period = self.periods[level]
        return {"none": 1.0, "inverse": 1.0 / period, "sqrt": period**0.5}[self.rate_scale]


@dataclass(frozen=True, slots=True)
class LevelState:
    """Everything one level carries from step to step.

    parameters   what the forward pass reads
    initial      the states that restarting parameters return to, learned by the parent level; empty if the level never restarts
    accumulated  the sum since the last update; empty when nothing is pending
    pending      terms in that sum
    updates      how often the level has changed
    rule, initial_rule  the update rule's own state for the parameters and for their initial states
    """

    parameters: Tree
    initial: Tree = field(default_factory=dict)
    accumulated: Tree = field(default_factory=dict)
    pending: int = 0
    updates: int = 0
    rule: Any = None
    initial_rule: Any = None


Levels = tuple[LevelState, ...]


def continuum_update(levels: Levels, gradients: Sequence[Tree], rules: Sequence[Rule], plan: Plan, step: int) -> Levels:
    """The levels after step number `step` (from 1), whose gradients with respect to each level's parameters are `gradients`."""
    new = [_accumulate(level, gradient, rule, plan) for level, gradient, rule in zip(levels, gradients, rules, strict=True)]
    for index in sorted(range(len(new)), key=lambda index: plan.periods[index]):
        if not due(step, plan.periods[index]):
            continue
        last_gradient = _reduced(new[index], plan)
        new[index] = _apply(new[index], rules[index], plan, index)
        parent = plan.parent(index)
        if parent is not None and new[index].initial and due(step, plan.periods[parent]):
            new[index] = _restart(new[index], last_gradient, rules[parent], plan, parent)
    return tuple(new)


def flush(levels: Levels, rules: Sequence[Rule], plan: Plan) -> Levels:
    """The levels after every pending partial chunk has been applied early; clocks stay aligned to the step count."""
    return tuple(
        _apply(level, rule, plan, i) if level.pending else level
        for i, (level, rule) in enumerate(zip(levels, rules, strict=True))
    )


def _accumulate(level: LevelState, gradient: Tree, rule: Rule, plan: Plan) -> LevelState:
    """The level with one more term in its sum: the gradient, or the displacement that the rule makes of it."""
    term, rule_state = gradient, level.rule
    if plan.accumulate == "update":
        moved, rule_state = rule(level.parameters, gradient, level.rule)
        term = {name: moved[name] - value for name, value in level.parameters.items()}
    if level.pending:
        term = level.accumulated | {name: level.accumulated.get(name, 0.0) + value for name, value in term.items()}
    return replace(level, accumulated=term, pending=level.pending + 1, rule=rule_state)


def _reduced(level: LevelState, plan: Plan) -> Tree:
    if plan.reduction == "sum" or level.pending == 1:
        return level.accumulated
    return {name: value / level.pending for name, value in level.accumulated.items()}


def _apply(level: LevelState, rule: Rule, plan: Plan, index: int) -> LevelState:
    """The level after its update, with nothing pending."""
    reduced, old, rule_state = _reduced(level, plan), level.parameters, level.rule
    if plan.accumulate == "update":
        new = {name: value + reduced[name] for name, value in old.items()}
    else:
        new, rule_state = rule(old, reduced, level.rule)
    new = _limited(old, new, plan, plan.scale(index))
    return replace(level, parameters=new, accumulated={}, pending=0, updates=level.updates + 1, rule=rule_state)


def _restart(level: LevelState, last_gradient: Tree, parent_rule: Rule, plan: Plan, parent: int) -> LevelState:
    """The level back at its initial state, after that state has learned from where the level got to."""
    initial, initial_rule = level.initial, level.initial_rule
    if plan.restart == "reptile":
        initial = reptile(initial, level.parameters, plan.restart_rate)
    else:
        gradient = {name: value for name, value in last_gradient.items() if name in initial}
        moved, initial_rule = parent_rule(initial, gradient, initial_rule)
        initial = _limited(initial, moved, plan, plan.scale(parent))
    return replace(level, parameters=level.parameters | initial, initial=initial, initial_rule=initial_rule)


def _limited(old: Tree, new: Tree, plan: Plan, scale: float) -> Tree:
    """`new`, with its displacement from `old` scaled and kept within the trust ratio."""
    if scale == 1.0 and plan.trust_ratio is None:
        return new
    moves = {name: scale * (new[name] - value) for name, value in old.items()}
    if plan.trust_ratio is not None:
        allowed, asked = plan.trust_ratio * tree_norm(old, plan.seed_axis), tree_norm(moves, plan.seed_axis)
        shrink = (allowed / asked.clamp_min(torch.finfo(asked.dtype).tiny)).clamp_max(1.0)
        moves = {
            name: move * (shrink.view(-1, *(1,) * (move.ndim - 1)) if plan.seed_axis else shrink) for name, move in moves.items()
        }
    return {name: value + moves[name] for name, value in old.items()}


def tree_norm(tree: Tree, seed_axis: bool) -> Tensor:
    """The Euclidean norm of all numbers of a tree together: a scalar, or (S,) where the tensors have a seed axis."""
    squares = [value.square().flatten(1).sum(1) if seed_axis else value.square().sum() for value in tree.values()]
    return torch.stack(squares).sum(0).sqrt()
