"""GABAL: gated, bounded, learned rates for the levels of a continuum memory.

At each step t of a level of period C, with gradient g_t at weights θ that stand still since the last update:

    φ_t = [z_t, cos(g_t, pending), log(‖g_t‖/‖θ‖), age/C]
    η_t = η_min + (η_max - η_min) σ(wᵀφ_t + b)      learned (w, b), bounded by η_max = c/(1 + ‖x‖²), c <= 1
    u_t = σ((z_t - τ)/T)                            gated by the standardised surprise z_t
    pending += η_t u_t g_t                          eq. 71, one rate per step

and every C steps, with ū the mean gate of the period,

    θ⁺ = θ_0 + α(θ - θ_0) - clip(pending),          α = 1 - ū(1 - α_min),  ‖clip(pending)‖ <= ρ‖θ‖

The step after an update tells whether the rate was right: ∂L/∂η ≈ -⟨g_{t+1}, g_t⟩, the first-order hypergradient, and (w,
b) descend along it.

The name stands in the roadmap of an earlier system, which never built it; this definition is ours. Every tensor may carry
seeds in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.nested.surprise import SurpriseStatistics, standardise, surprise_statistics

Tensors = Sequence[Tensor]
FEATURES = 4


@dataclass(frozen=True, slots=True)
class GabalConfig:
    """Bounds and rates of the controller; weights are θ, the level's parameters.

    base_rate: η at the start, > min_rate (and below η_max, or it starts just below it). nlms: c in (0, 1]. trust: ρ, the
    largest ‖Δθ‖/‖θ‖ of one update, > 0. threshold, temperature: τ and T of the gate, in standard deviations of the
    surprise. min_retain: α_min in [0, 1], 1 for no decay. meta_rate: step of (w, b); 0 freezes them. meta_clip: bound of
    each hypergradient component.
    """

    base_rate: float = 1e-2
    min_rate: float = 1e-5
    nlms: float = 1.0
    trust: float = 0.1
    threshold: float = -2.0
    temperature: float = 1.0
    min_retain: float = 1.0
    meta_rate: float = 1e-2
    meta_clip: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "base_rate: must be > min_rate >= 0": self.base_rate > self.min_rate >= 0,
            "nlms: must be in (0, 1]": 0 < self.nlms <= 1,
            "trust and temperature: must be > 0": min(self.trust, self.temperature) > 0,
            "min_retain: must be in [0, 1]": 0 <= self.min_retain <= 1,
            "meta_rate and meta_clip: must be >= 0": min(self.meta_rate, self.meta_clip) >= 0,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise NlbenchError("gabal: " + "; ".join(broken) + f", got {self}.", "See GabalConfig for each range.")


class GabalState(NamedTuple):
    """The controller of one level: learned (w, b), statistics, what the current period has gathered. Leading axes: seeds."""

    weights: Tensor  # (..., 4)
    bias: Tensor  # (...), NaN until the first step sets it to the base rate
    surprise: SurpriseStatistics
    pending: tuple[Tensor, ...]  # like θ
    applied: tuple[Tensor, ...]  # the last update, θ_before - θ_after without its retention, like θ
    gate_sum: Tensor  # (...)
    sensitivity: Tensor  # (..., 5) rate-weighted sum of ∂ log η/∂(w, b) in this period
    applied_sensitivity: Tensor  # (..., 5) the mean of it in the period whose update was applied
    rate_sum: Tensor  # (...)
    age: int
    has_applied: bool


def dot(left: Tensors, right: Tensors, replica_axes: int) -> Tensor:
    """Return Σ ⟨a, b⟩ over the tensors of a level, one number per replica."""
    products = [(a * b).reshape(*a.shape[:replica_axes], -1).sum(-1) for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum(0)


def per_replica(number: Tensor, like: Tensor) -> Tensor:
    """Return one number per replica shaped to multiply a parameter of the level."""
    return number.reshape(*number.shape, *(1 for _ in like.shape[number.ndim :]))


def gabal_init(parameters: Tensors, replica_axes: int = 0) -> GabalState:
    """Return the controller's first state for a level's parameters."""
    like = parameters[0]
    lead = like.shape[:replica_axes]
    zeros = tuple(torch.zeros_like(p) for p in parameters)
    number, vector = like.new_zeros(lead), like.new_zeros(*lead, FEATURES + 1)
    return GabalState(
        weights=like.new_zeros(*lead, FEATURES),
        bias=torch.full_like(number, torch.nan),
        surprise=surprise_statistics(*lead, like=like),
        pending=zeros,
        applied=zeros,
        gate_sum=number,
        sensitivity=vector,
        applied_sensitivity=vector,
        rate_sum=number,
        age=0,
        has_applied=False,
    )


def features(z: Tensor, gradients: Tensors, pending: Tensors, parameters: Tensors, age_share: float) -> Tensor:
    """Return φ (..., 4) = [z, cos(g, pending), log(‖g‖/‖θ‖), age/C]; the cosine is 0 while nothing is pending.

    z is (...) and cut at ±5.
    """
    axes = z.ndim
    tiny, floor = torch.finfo(z.dtype).tiny ** 0.5, 1e-8
    gradient_size, pending_size, size = (dot(t, t, axes).sqrt() for t in (gradients, pending, parameters))
    cosine = dot(gradients, pending, axes) / (gradient_size * pending_size).clamp_min(tiny)
    ratio = ((gradient_size + floor) / (size + floor)).log()
    return torch.stack((z.clamp(-5, 5), cosine, ratio, torch.full_like(z, age_share)), -1)


def rate(weights: Tensor, bias: Tensor, phi: Tensor, low: float, high: Tensor) -> Tensor:
    """Return η = low + (high - low) σ(wᵀφ + b), (...), within [low, high]; where high < low the upper bound wins."""
    floor = high.clamp_max(low)
    return floor + (high - floor) * torch.sigmoid((weights * phi).sum(-1) + bias)


def largest_rate(input_square: Tensor, nlms: float) -> Tensor:
    """Return c / (1 + ‖x‖²): at c <= 1 a step on one sample never overshoots its own error."""
    return nlms / (1 + input_square)


def gate(z: Tensor, threshold: float, temperature: float) -> Tensor:
    """Return u = σ((z - τ)/T) in [0, 1]."""
    return torch.sigmoid((z - threshold) / temperature)


def trust_clip(update: Tensors, parameters: Tensors, trust: float, replica_axes: int) -> tuple[Tensor, ...]:
    """Return the update, shrunk per replica where needed so that ‖update‖ <= ρ‖θ‖ over the whole level; θ = 0 is not clipped."""
    size = dot(parameters, parameters, replica_axes).sqrt()
    length = dot(update, update, replica_axes).sqrt()
    shrink = torch.where((size > 0) & (length > trust * size), trust * size / length.clamp_min(torch.finfo(size.dtype).tiny), 1.0)
    return tuple(per_replica(shrink, u) * u for u in update)


def gabal_accumulate(
    config: GabalConfig,
    state: GabalState,
    gradients: Tensors,
    parameters: Tensors,
    surprise: Tensor,
    input_square: Tensor,
    period: int,
) -> GabalState:
    """Return the state after one step's gradient was weighed and added to the pending update.

    gradients, parameters: the level's tensors (..., *shape). surprise: RMS(δ) of the level (...), whose rank says how
    many axes are replicas. input_square: mean ‖x‖² of the level's input (...). The step after an update also moves (w, b)
    by its hypergradient.
    """
    axes = surprise.ndim
    state = _learn(config, state, gradients, axes)
    z, statistics = standardise(surprise, state.surprise)
    high = largest_rate(input_square, config.nlms)
    floor = high.clamp_max(config.min_rate)
    room = (high - floor).clamp_min(torch.finfo(high.dtype).tiny)
    share = ((config.base_rate - floor) / room).clamp_max(1 - 1e-3)
    bias = torch.where(state.bias.isnan(), torch.logit(share), state.bias)
    phi = features(z, gradients, state.pending, parameters, (state.age + 1) / period)
    eta, open_share = rate(state.weights, bias, phi, config.min_rate, high), gate(z, config.threshold, config.temperature)
    step_size = eta * open_share
    slope = (open_share * (eta - floor) * (high - eta) / room)[..., None] * torch.cat((phi, torch.ones_like(z)[..., None]), -1)
    pending = tuple(p + per_replica(step_size, g) * g for p, g in zip(state.pending, gradients, strict=True))
    return state._replace(
        bias=bias,
        surprise=statistics,
        pending=pending,
        gate_sum=state.gate_sum + open_share,
        sensitivity=state.sensitivity + slope,
        rate_sum=state.rate_sum + step_size,
        age=state.age + 1,
    )


def gabal_apply(
    config: GabalConfig, state: GabalState, parameters: Tensors, initial: Tensors | None = None
) -> tuple[tuple[Tensor, ...], GabalState]:
    """Return (parameters, state) after the update that ends a period; retention pulls to `initial`, or to zero without it."""
    if state.age == 0:
        raise NlbenchError("gabal: nothing has accumulated since the last update.", "Call gabal_accumulate at every step.")
    axes = state.gate_sum.ndim
    update = trust_clip(state.pending, parameters, config.trust, axes)
    retain = 1 - (state.gate_sum / state.age) * (1 - config.min_retain)
    start = initial if initial is not None else [torch.zeros_like(p) for p in parameters]
    new = tuple(s + per_replica(retain, p) * (p - s) - u for p, s, u in zip(parameters, start, update, strict=True))
    mean_slope = state.sensitivity / state.rate_sum[..., None].clamp_min(torch.finfo(retain.dtype).tiny)
    zeros = tuple(torch.zeros_like(p) for p in state.pending)
    return new, state._replace(
        pending=zeros,
        applied=update,
        applied_sensitivity=mean_slope,
        gate_sum=torch.zeros_like(state.gate_sum),
        sensitivity=torch.zeros_like(state.sensitivity),
        rate_sum=torch.zeros_like(state.rate_sum),
        age=0,
        has_applied=True,
    )


def hypergradient(state: GabalState, gradients: Tensors, replica_axes: int) -> Tensor:
    """Return ∂L_{t+1}/∂(w, b) ≈ -⟨g_{t+1}, applied⟩ ∂ log η/∂(w, b), (..., 5): exact to first order in the update for period 1.

    Longer periods share one mean ∂ log η/∂(w, b), so that one update is remembered instead of one gradient per feature.
    """
    return -dot(gradients, state.applied, replica_axes)[..., None] * state.applied_sensitivity


def _learn(config: GabalConfig, state: GabalState, gradients: Tensors, replica_axes: int) -> GabalState:
    if not state.has_applied:
        return state
    step = config.meta_rate * hypergradient(state, gradients, replica_axes).clamp(-config.meta_clip, config.meta_clip)
    return state._replace(weights=state.weights - step[..., :FEATURES], bias=state.bias - step[..., FEATURES], has_applied=False)


class Gabal:
    """The controller of one level as an object: call `backward`, then `step`; parameters change at multiples of `period` only.

    Not an optimizer of torch's: its step needs the level's surprise RMS(δ) and its input's mean ‖x‖², one number per
    replica. Nothing happens outside `step`, so evaluation leaves it as it is. `initial` is what retention pulls to, zero
    if None.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        period: int,
        config: GabalConfig | None = None,
        *,
        replica_axes: int = 0,
        initial: Tensors | None = None,
    ) -> None:
        if period < 1:
            raise NlbenchError(f"gabal: period must be at least 1 step, got {period}.", "It updates every `period` steps.")
        self.parameters = list(parameters)
        self.period, self.config, self.initial = period, config or GabalConfig(), initial
        self.state = gabal_init(self.parameters, replica_axes)

    @torch.no_grad()
    def step(self, surprise: Tensor, input_square: Tensor) -> None:
        """Gather this step's gradients (`.grad` of every parameter), and update the parameters if the period is over."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.state = gabal_accumulate(self.config, self.state, gradients, self.parameters, surprise, input_square, self.period)
        if self.state.age == self.period:
            updated, self.state = gabal_apply(self.config, self.state, self.parameters, self.initial)
            for parameter, value in zip(self.parameters, updated, strict=True):
                parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a bit-exact resume needs, the parameters aside."""
        return {**self.state._asdict(), "surprise": tuple(self.state.surprise)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, mid-period included."""
        self.state = GabalState(**{**state, "surprise": SurpriseStatistics(*state["surprise"])})
