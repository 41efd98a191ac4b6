"""Associative memory: an objective, a form of memory, and a rule that writes it (Nested Learning, §2.1, eq. 6 and 64-68).

Legend: S seeds or any leading axes (...), n tokens, d_k and d_v the widths of keys and values. A memory M (..., d_v, d_k)
reads y = M k. All losses carry the ½ of the gradients the paper prints. The initial state is what an outer loop learns;
the memory state is what writes change; they are never the same tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested import rules
from nlbench.nested.retention import AccumulatedMetric, Scalar, decay_towards, ridge_metric

Objective = Literal["dot", "l2", "oja"]
Form = Literal["linear", "residual-linear", "residual-mlp"]
Rule = Literal["gd", "dgd", "metric"]
Target = Literal["init", "zero"]
Weights = tuple[Tensor, ...]


def dot_loss(outputs: Tensor, values: Tensor) -> Tensor:
    """Return Σ_t -⟨y_t, v_t⟩ over tokens, shape (...); its gradient is Hebb's rule with a minus sign."""
    return -(outputs * values).sum((-2, -1))


def l2_loss(outputs: Tensor, values: Tensor) -> Tensor:
    """Return Σ_t ½‖y_t - v_t‖² over tokens, shape (...); its gradient is the delta rule."""
    return 0.5 * (outputs - values).square().sum((-2, -1))


def oja_loss(memory: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return Σ_t -⟨M k_t, v_t⟩ + ½‖Mᵀ v_t‖² over tokens, shape (...), for a linear memory (eq. 66)."""
    return -((keys @ memory.mT) * values).sum((-2, -1)) + 0.5 * (values @ memory).square().sum((-2, -1))


def local_surprise(outputs: Tensor, values: Tensor, objective: Objective) -> Tensor:
    """Return δ = ∂L/∂y, shape (..., n, d_v)."""
    if objective == "l2":
        return outputs - values
    if objective in ("dot", "oja"):
        return -values.expand_as(outputs)
    raise UnknownNameError("objective", objective, ("dot", "l2", "oja"))


def read(form: Form, weights: Weights, keys: Tensor) -> Tensor:
    """Return the values (..., n, d_v) that a memory holds for keys (..., n, d_k).

    linear: M k · residual-linear: k + W k · residual-mlp: k + W_1 gelu(W_2 k) (eq. 89), `weights` = (W_2, W_1).
    """
    if form == "linear":
        return keys @ weights[0].mT
    if form == "residual-linear":
        return keys + keys @ weights[0].mT
    if form == "residual-mlp":
        inner, outer = weights
        return keys + F.gelu(keys @ inner.mT) @ outer.mT
    raise UnknownNameError("form", form, ("linear", "residual-linear", "residual-mlp"))


def gelu_slope(inputs: Tensor) -> Tensor:
    """Return gelu'(z) = Φ(z) + z φ(z)."""
    return torch.special.ndtr(inputs) + inputs * torch.exp(-0.5 * inputs.square()) / (2 * torch.pi) ** 0.5


class Layer(NamedTuple):
    """The input a weight matrix saw and the local surprise of its output: all that an update rule needs."""

    inputs: Tensor
    surprises: Tensor


def layers(form: Form, weights: Weights, keys: Tensor, values: Tensor, objective: Objective) -> tuple[Layer, ...]:
    """Return one `Layer` per weight matrix, such that ∂L/∂W = surprisesᵀ inputs; each layer sees its own input (§4.5)."""
    if objective == "oja":
        if form != "linear":
            raise NlbenchError(f"associative memory: objective 'oja' needs form 'linear', got {form!r}.", "Use 'dot' or 'l2'.")
        return (Layer(keys - values @ weights[0], -values),)
    surprise = local_surprise(read(form, weights, keys), values, objective)
    if form != "residual-mlp":
        return (Layer(keys, surprise),)
    inner, outer = weights
    before = keys @ inner.mT
    return (Layer(keys, (surprise @ outer) * gelu_slope(before)), Layer(F.gelu(before), surprise))


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What a memory is made of.

    rule: "gd"; "dgd" (exact proximal step, any ‖x‖); "metric" (GGD with the accumulated metric = recursive least squares
    on the values). target: where retention decays to, the initial state or zero (the paper's letter). kappa: DGD's
    strength in [0, 1]. hidden: width of the MLP form, default d_k. ridge: λ of the metric, > 0.
    """

    form: Form = "residual-linear"
    objective: Objective = "l2"
    rule: Rule = "dgd"
    target: Target = "init"
    kappa: float = 1.0
    hidden: int | None = None
    ridge: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("form", Form), ("objective", Objective), ("rule", Rule), ("target", Target)):
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known))
        if not 0 <= self.kappa <= 1 or self.ridge <= 0 or (self.hidden is not None and self.hidden < 1):
            raise NlbenchError(
                f"associative memory: kappa must be in [0, 1], ridge > 0 and hidden >= 1, got {self.kappa}, {self.ridge}, "
                f"{self.hidden}.",
                "kappa 0 is gradient descent; hidden None is d_k.",
            )
        if self.rule == "metric" and (self.objective != "l2" or self.form == "residual-mlp"):
            raise NlbenchError(
                f"associative memory: rule 'metric' needs 'l2' and a linear form, got {self.objective!r}, {self.form!r}.",
                "Use rule 'dgd', or form 'linear' or 'residual-linear' with objective 'l2'.",
            )
        if self.objective == "oja" and self.rule != "gd":
            raise NlbenchError(
                f"associative memory: objective 'oja' needs rule 'gd', got {self.rule!r}.", "Oja's rule is a gradient step."
            )


class MemoryState(NamedTuple):
    """What writes change, and the initial state they started from. `inverse_metric` is empty unless the rule is "metric"."""

    weights: Weights
    initial: Weights
    momentum: Weights
    inverse_metric: Weights


def write(
    config: MemoryConfig,
    state: MemoryState,
    keys: Tensor,
    values: Tensor,
    rate: Scalar,
    retain: Scalar = 1.0,
    momentum: Scalar = 0.0,
) -> MemoryState:
    """Return the state after one write of n tokens, all gradients taken at `state` (a chunk; n = 1 is the token recurrence).

    keys (..., n, d_k), values (..., n, d_v); rate η, a number, (...) or (..., n); retain α and momentum μ, numbers or
    (...). The decay acts once per call: W⁺ = retained(W) - η∇L(W) for "gd" and "dgd" (eq. 88). For "metric" the rate
    weighs tokens and `retain` fades the metric.
    """
    if config.rule == "metric":
        return _write_metric(config, state, keys, values, rate, retain)
    initial: tuple[Tensor | None, ...] = state.initial if config.target == "init" else (None,) * len(state.weights)
    weights, momenta = [], []
    seen = layers(config.form, state.weights, keys, values, config.objective)
    for old, start, speed, layer in zip(state.weights, initial, state.momentum, seen, strict=True):
        kappa = config.kappa if config.rule == "dgd" else 0.0
        step = rules.dgd(old, layer.inputs, layer.surprises, rate, kappa)
        kept = step.kept - old + decay_towards(old, start, retain)
        new, speed = rules.with_momentum(rules.Step(kept, step.written), speed, momentum)
        weights.append(new)
        momenta.append(speed)
    return state._replace(weights=tuple(weights), momentum=tuple(momenta))


def _write_metric(
    config: MemoryConfig, state: MemoryState, keys: Tensor, values: Tensor, rate: Scalar, retain: Scalar
) -> MemoryState:
    targets = values - keys if config.form == "residual-linear" else values
    root = rules.per_token(rate, keys).clamp_min(torch.finfo(keys.dtype).tiny).sqrt()
    metric = AccumulatedMetric(state.inverse_metric[0], retain)
    step, metric = rules.ggd(state.weights[0], root * keys, root * targets, metric)
    return state._replace(weights=(step.weights,), inverse_metric=(metric.inverse_metric,))


class AssociativeMemory(nn.Module):
    """A memory with learned initial states: `read` and `write` are functions of a state that the caller carries.

    One replica by default, weights (d_v, d_k); `replicas=S` puts a seed axis in front of every tensor. The parameters are
    the initial states only. `generator` draws them on the CPU, standard deviation 1/√d_in for the first layer; the last
    layer of the MLP starts at 0, so a fresh residual memory is the identity. A linear memory starts at zero, as does a
    residual-linear one.
    """

    def __init__(
        self,
        key_width: int,
        value_width: int,
        config: MemoryConfig | None = None,
        *,
        replicas: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or MemoryConfig()
        if config.form != "linear" and key_width != value_width:
            raise NlbenchError(
                f"associative memory: form {config.form!r} needs equal widths, got keys {key_width} and values {value_width}.",
                "The identity path adds the key to the value; use form 'linear'.",
            )
        lead = () if replicas is None else (replicas,)
        shapes = [(value_width, key_width)]
        if config.form == "residual-mlp":
            hidden = config.hidden or key_width
            shapes = [(hidden, key_width), (value_width, hidden)]
        tensors = [torch.zeros(*lead, *shape) for shape in shapes]
        if config.form == "residual-mlp":
            tensors[0] = torch.randn(tensors[0].shape, generator=generator) / key_width**0.5
        self.initial = nn.ParameterList(nn.Parameter(tensor) for tensor in tensors)

    def initial_state(self, *batch: int) -> MemoryState:
        """Return a fresh state, one separate memory per `batch` index, behind the seed axis; gradients reach the parameters."""
        initial = tuple(
            start.reshape(*start.shape[:-2], *(1 for _ in batch), *start.shape[-2:]).expand(
                *start.shape[:-2], *batch, *start.shape[-2:]
            )
            for start in self.initial
        )
        metric = (ridge_metric(initial[0], self.config.ridge),) if self.config.rule == "metric" else ()
        return MemoryState(initial, initial, tuple(torch.zeros_like(start) for start in initial), metric)

    def read(self, state: MemoryState, keys: Tensor) -> Tensor:
        """Return values (..., n, d_v) for keys (..., n, d_k); changes nothing."""
        return read(self.config.form, state.weights, keys)

    def write(
        self, state: MemoryState, keys: Tensor, values: Tensor, rate: Scalar, retain: Scalar = 1.0, momentum: Scalar = 0.0
    ) -> MemoryState:
        """Return the state after one chunk; see the function `write`."""
        return write(self.config, state, keys, values, rate, retain, momentum)

    def forward(
        self, keys: Tensor, values: Tensor, rate: Scalar, retain: Scalar = 1.0, chunk: int = 1
    ) -> tuple[Tensor, MemoryState]:
        """Return (outputs, state): each chunk of tokens is read from the state before its own write, then written."""
        if keys.shape[:-1] != values.shape[:-1]:
            raise NlbenchError(
                f"associative memory: {tuple(keys.shape)} keys need as many values, got {tuple(values.shape)}.",
                "Keys and values are (..., n, d_k) and (..., n, d_v).",
            )
        state = self.initial_state(*keys.shape[self.initial[0].ndim - 2 : -2])
        outputs = []
        for start in range(0, keys.shape[-2], chunk):
            part = slice(start, start + chunk)
            outputs.append(self.read(state, keys[..., part, :]))
            part_rate = rate[..., part] if isinstance(rate, Tensor) and rate.ndim == keys.ndim - 1 else rate
            state = self.write(state, keys[..., part, :], values[..., part, :], part_rate, retain)
        return torch.cat(outputs, -2) if outputs else self.read(state, keys), state
