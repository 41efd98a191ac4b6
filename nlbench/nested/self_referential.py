"""Self-referential Titans: memories that make their own keys, values, rates, retentions and targets, and learn as they read.

Letters: S seeds, B rows (each a stream of its own), H heads, P = B H memories of a kind, L tokens, D width, d = D / H, h hidden.
The learned initial states M_□,0 are parameters; a stream's state holds only the differences M_□ - M_□,0 that its tokens wrote.

Source: Nested Learning (arXiv 2512.24695), eq. 76-93: chunk index C(⌈t/C⌉ - 1) in 90, +η v̂kᵀ in 92, no identity path for the
scalar gates of 89, read before write as in 83.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.kernels.backends import Backend
from nlbench.kernels.memory_scan import Read, memory_scan
from nlbench.nested.associative import gelu_slope
from nlbench.nested.layers import Draws, Linear, Seeds, Tree, unit

Form = Literal["mlp", "linear", "matrix"]
Objective = Literal["l2", "dot"]
Retention = Literal["init", "zero"]

GATES = ("rate", "retain")


@dataclass(frozen=True, slots=True)
class SelfReferentialConfig:
    """How the memories learn; the defaults are stable on any input.

    form         "mlp": z + W₁ gelu(W₂ z); "linear": z + W z; "matrix": W z. The gates have no identity path.
                 Bare matrices that make their own targets are degenerate: M = 0 stays 0 and one map rules all of them
    objective    "l2": ½‖M(k) - v̂‖², "dot": -⟨M(k), v̂⟩; both with the decay η k kᵀ of DGD
    read         "stale": y from the state at the chunk start; "exact": from the state of the token before
    chunk, outer_chunk  C_mem, tokens between two states of `memory`, and C_o, of all others; C_mem divides C_o
    retention    what α decays towards: the learned initial state, or zero (the paper's letter), where long streams fade
    rate_max     η = rate_max σ(M_η(x) + b_η); None: 1 - μ for "dot", and (1 - μ) / C of the memory's own chunk for "l2"
    retain_min   α = retain_min + (1 - retain_min) σ(M_α(x) + b_α), the share kept per token
    momentum     μ in [0, 1); 0 keeps no velocity
    target_clip  longest self-generated target; None: no clip
    adaptive_query  q from a memory too, instead of the fixed projection
    backend      the implementation of the scan that writes
    truncation   segments of C_o tokens that the outer gradient goes back through writes; None: all; 0: none, writes are constants
    """

    form: Form = "mlp"
    objective: Objective = "l2"
    read: Read = "stale"
    chunk: int = 16
    outer_chunk: int = 64
    retention: Retention = "init"
    rate_max: float | None = None
    rate_bias: float = -2.0
    retain_min: float = 0.0
    retain_bias: float = 4.0
    momentum: float = 0.0
    normalize_values: bool = True
    target_clip: float | None = 1.0
    adaptive_query: bool = False
    truncation: int | None = 4
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        for name, known in (("form", Form), ("objective", Objective), ("read", Read), ("retention", Retention)):
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known))
        if self.chunk < 1 or self.outer_chunk % self.chunk:
            raise NlbenchError(
                f"outer_chunk: must be a multiple of chunk ≥ 1, got {self.outer_chunk} and {self.chunk}.", "Use e.g. 64 and 16."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The memories, `memory` last."""
        return ("key", "value", *GATES, *(("query",) if self.adaptive_query else ()), "memory")

    def residual(self, name: str) -> bool:
        """Whether the memory has an identity path."""
        return self.form != "matrix" and name not in GATES

    def rate_cap(self, chunk: int) -> float:
        """The largest η of a memory with this chunk: under "l2" a repeated key's value flips sign once C η passes ln 2."""
        if self.rate_max is not None:
            return self.rate_max
        return (1.0 - self.momentum) / (1 if self.objective == "dot" else chunk)


class Tokens(NamedTuple):
    """What a run of tokens asks of the memories: keys, values, queries (S, P, L, d); rate η and retention α, (S, P, L)."""

    keys: Tensor
    values: Tensor
    rate: Tensor
    retain: Tensor
    queries: Tensor | None

    def part(self, start: int, size: int) -> Tokens:
        """The tokens from `start`, at most `size` of them."""
        token = slice(start, start + size)
        queries = None if self.queries is None else self.queries[..., token, :]
        return Tokens(
            self.keys[..., token, :], self.values[..., token, :], self.rate[..., token], self.retain[..., token], queries
        )


class Matrix(NamedTuple):
    """One weight matrix of every stream now, as it was learned, and (with momentum) its velocity; each (S, P, ·, ·)."""

    weight: Tensor
    initial: Tensor
    velocity: Tensor | None = None


Memory = tuple[Matrix, ...]
"""The matrices in the order the input meets them: (W) or (W₂, W₁)."""


def half_life(retain: Tensor) -> Tensor:
    """Tokens after which a memory that keeps the share α = `retain` per token has lost half: ln ½ / ln α; infinite at α = 1."""
    return math.log(0.5) / torch.log(retain)


def answer(memory: Memory, z: Tensor, *, residual: bool) -> Tensor:
    """M(z) for z (S, P, L, d)."""
    y = z @ memory[0].weight.mT
    if len(memory) == 2:
        y = F.gelu(y) @ memory[1].weight.mT
    return z + y if residual else y


def learn(memories: dict[str, Memory], tokens: Tokens, config: SelfReferentialConfig) -> tuple[dict[str, Memory], Tensor | None]:
    """The memories after one chunk of tokens; with queries (then there is one memory) also what its matrices answered.

    Targets and gradients come from the states at the chunk start, the decay acts on the running state (eq. 90). All first
    matrices see the same keys, so one scan writes them side by side. A second matrix sees the hidden activations, shortened to
    length ≤ 1 for the decay.
    """
    errors = {name: _error(memory, tokens, config, config.residual(name)) for name, memory in memories.items()}
    hidden, first = {}, errors
    if config.form == "mlp":
        before = {name: tokens.keys @ memory[0].weight.mT for name, memory in memories.items()}
        hidden = {name: F.gelu(value) for name, value in before.items()}
        first = {name: gelu_slope(before[name]) * (errors[name] @ memory[1].weight) for name, memory in memories.items()}
    joined, answers = _write(
        _side_by_side([memory[0] for memory in memories.values()]), tokens, torch.cat(list(first.values()), -1), config
    )
    new: dict[str, Memory] = {}
    widths = [memory[0].weight.shape[-2] for memory in memories.values()]
    for (name, memory), matrix in zip(memories.items(), _apart(joined, widths), strict=True):
        new[name] = (matrix,)
        if hidden:
            length = torch.linalg.vector_norm(hidden[name], dim=-1, keepdim=True).clamp_min(1.0)
            inner = tokens._replace(keys=hidden[name] / length, queries=None if answers is None else F.gelu(answers))
            outer, answers = _write(memory[1], inner, errors[name] * length, config)
            new[name] = (matrix, outer)
    return new, answers


def _error(memory: Memory, tokens: Tokens, config: SelfReferentialConfig, residual: bool) -> Tensor:
    """-∂L/∂y at the memory's own target v̂ = M(v): v̂ - M(k) for "l2", v̂ for "dot"."""
    target = answer(memory, tokens.values, residual=residual)
    if config.target_clip is not None:
        length = torch.linalg.vector_norm(target, dim=-1, keepdim=True)
        target = target * (config.target_clip / length.clamp_min(config.target_clip))
    return target - answer(memory, tokens.keys, residual=residual) if config.objective == "l2" else target


def _write(matrix: Matrix, tokens: Tokens, errors: Tensor, config: SelfReferentialConfig) -> tuple[Matrix, Tensor | None]:
    """The matrix after M ← M(αI - η k kᵀ) + η e kᵀ over one chunk, and its answers to the queries."""
    scan = memory_scan(
        matrix.weight,
        tokens.keys,
        errors,
        tokens.rate,
        tokens.retain,
        chunk=max(1, tokens.keys.shape[-2]),
        queries=tokens.queries,
        read=config.read,
        momentum=None if matrix.velocity is None else torch.full_like(tokens.rate, config.momentum),
        velocity=matrix.velocity,
        initial=matrix.initial if config.retention == "init" else None,
        backend=config.backend,
    )
    return Matrix(scan.memory, matrix.initial, scan.velocity), scan.outputs


def _side_by_side(matrices: Sequence[Matrix]) -> Matrix:
    weight, initial = (torch.cat(parts, -2) for parts in zip(*((m.weight, m.initial) for m in matrices), strict=True))
    velocities = [m.velocity for m in matrices if m.velocity is not None]
    return Matrix(weight, initial, torch.cat(velocities, -2) if velocities else None)


def _apart(joined: Matrix, widths: Sequence[int]) -> list[Matrix]:
    parts = [part.split(widths, -2) if part is not None else (None,) * len(widths) for part in joined]
    return [Matrix(*each) for each in zip(*parts, strict=True)]


class SelfReferential(nn.Module):
    """The memories of one block for inputs ((S,) B, L, D), block-diagonal over heads; see `SelfReferentialConfig`.

    Its parameters are the initial states `initial.<memory>.<i>` (H, ·, ·), the gate biases (H) and W_q; inner writes never touch
    them. A state is what `initial_state` returns: the differences to the initial states and the velocities, one of each per row.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 1,
        config: SelfReferentialConfig | None = None,
        *,
        seeds: Seeds = 0,
        draws: Draws | None = None,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise NlbenchError(f"heads: must divide the width {dim}, got {heads}.", "Block-diagonal memories need equal heads.")
        self.config = config or SelfReferentialConfig()
        self.heads, self.width = heads, dim // heads
        draws = draws or Draws.of(seeds)
        self.seed_axis = draws.seed_axis
        self.initial = nn.ModuleDict({name: self._initial(name, draws.within(name)) for name in self.config.names})
        self.rate_bias = draws.constant(self.config.rate_bias, heads)
        self.retain_bias = draws.constant(self.config.retain_bias, heads)
        self.query = None if self.config.adaptive_query else Linear(dim, dim, draws.within("query"), bias=False)

    def _initial(self, name: str, draws: Draws) -> nn.ParameterList:
        """The learned matrices of one memory: small beside the identity path, or of gain 1 where there is none."""
        rows, width = 1 if name in GATES else self.width, self.width
        gain = 1.0 if self.config.form == "matrix" and name not in GATES else 0.3
        if self.config.form != "mlp":
            return nn.ParameterList([draws.normal("0", self.heads, rows, width, std=gain * width**-0.5)])
        inner = draws.normal("0", self.heads, width, width, std=width**-0.5)
        return nn.ParameterList([inner, draws.normal("1", self.heads, rows, width, std=gain * width**-0.5)])

    def _learned(self, name: str) -> list[nn.Parameter]:
        return list(self.initial[name].parameters())

    def initial_state(self, rows: int) -> Tree:
        """The state of `rows` fresh streams: all zeros, each tensor ((S,) rows, H, ·, ·)."""
        state: Tree = {}
        for name in self.config.names:
            for index, matrix in enumerate(self._learned(name)):
                lead = (matrix.shape[0], rows) if self.seed_axis else (rows,)
                state[f"{name}.{index}"] = matrix.new_zeros(*lead, *matrix.shape[-3:])
                if self.config.momentum:
                    state[f"{name}.{index}.velocity"] = matrix.new_zeros(*lead, *matrix.shape[-3:])
        return state

    def forward(self, x: Tensor, state: Tree | None = None) -> tuple[Tensor, Tree]:
        """What the memory answers to each token, like x ((S,) B, L, D), and the state after the last one.

        Segments start anew at each call and a ragged last chunk is written at its end; calls of n C_o tokens equal one long call.
        """
        config = self.config
        tokens = self._heads(x)
        fixed = None if self.query is None else self._heads(self.query(x))
        memories = self._memories(self.initial_state(x.shape[-3]) if state is None else state, x.shape[-3])
        outputs = []
        for number, start in enumerate(range(0, x.shape[-2], config.outer_chunk)):
            if config.truncation == 0 or (config.truncation is not None and number % config.truncation == 0):
                memories = _cut(memories)
            segment = slice(start, start + config.outer_chunk)
            asked = self._ask(memories, tokens[..., segment, :], None if fixed is None else fixed[..., segment, :])
            memory, answers = self._read_and_write(memories.pop("memory"), asked)
            outputs.append(answers)
            others = asked._replace(rate=config.rate_cap(config.outer_chunk) * asked.rate, queries=None)
            memories = learn(memories, others, config)[0] | {"memory": memory}
        y = torch.cat(outputs, -2)
        y = y.view(y.shape[0], -1, self.heads, *y.shape[-2:]).transpose(2, 3).reshape(y.shape[0], *x.shape[-3:])
        return (y if self.seed_axis else y[0]), self._state(memories)

    def _read_and_write(self, memory: Memory, asked: Tokens) -> tuple[Memory, Tensor]:
        """The main memory after a segment, and what it answered: read, then write, chunk by chunk."""
        config, answers = self.config, []
        memories = {"memory": memory}
        for start in range(0, asked.rate.shape[-1], config.chunk):
            part = asked.part(start, config.chunk)
            part = part._replace(rate=config.rate_cap(config.chunk) * part.rate)
            memories, read = learn(memories, part, config)
            answers.append(cast(Tensor, part.queries if config.residual("memory") else 0) + cast(Tensor, read))
            if config.truncation == 0:
                memories = _cut(memories)
        return memories["memory"], torch.cat(answers, -2)

    def gates(self, x: Tensor, state: Tree | None = None) -> tuple[Tensor, Tensor]:
        """The share σ(·) of the largest rate, and the retention α, that this state gives to tokens x, ((S,) B, H, L)."""
        memories = self._memories(self.initial_state(x.shape[-3]) if state is None else state, x.shape[-3])
        shape = (*x.shape[:-2], self.heads, x.shape[-2])
        rate, retain = self._gates(memories, self._heads(x))
        return rate.view(shape), retain.view(shape)

    def half_life(self, x: Tensor, state: Tree | None = None) -> Tensor:
        """The live half-life in tokens, ((S,) B, H, L): how long a memory would last if every token were like this one."""
        return half_life(self.gates(x, state)[1])

    def _gates(self, memories: dict[str, Memory], x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.config.retain_min
        biases = (
            bias.view(-1, 1, self.heads).expand(-1, x.shape[1] // self.heads, -1).flatten(1)[..., None]
            for bias in (self.rate_bias, self.retain_bias)
        )
        rate, retain = (
            torch.sigmoid(answer(memories[name], x, residual=False)[..., 0] + bias)
            for name, bias in zip(GATES, biases, strict=True)
        )
        return rate, low + (1 - low) * retain

    def _ask(self, memories: dict[str, Memory], x: Tensor, query: Tensor | None) -> Tokens:
        """The keys, values, gates and queries of a segment, from the states at its start."""
        made = {
            name: answer(memories[name], x, residual=self.config.residual(name))
            for name in self.config.names
            if name not in (*GATES, "memory")
        }
        values = unit(made["value"]) if self.config.normalize_values else made["value"]
        rate, retain = self._gates(memories, x)
        return Tokens(unit(made["key"]), values, rate, retain, unit(made["query"] if query is None else query))

    def _heads(self, x: Tensor) -> Tensor:
        """((S,) B, L, D) -> (S, B H, L, d)."""
        batched = x if self.seed_axis else x[None]
        return batched.unflatten(-1, (self.heads, self.width)).transpose(2, 3).flatten(1, 2)

    def _memories(self, state: Tree, rows: int) -> dict[str, Memory]:
        """Every matrix as initial + difference, with one program for each row and head."""

        def programs(value: Tensor) -> Tensor:
            return (value if self.seed_axis else value[None]).flatten(1, 2)

        memories = {}
        for name in self.config.names:
            built = []
            for index, matrix in enumerate(self._learned(name)):
                learned = matrix.unsqueeze(-4).expand(*matrix.shape[:-3], rows, *matrix.shape[-3:])
                velocity = state.get(f"{name}.{index}.velocity")
                difference = programs(state[f"{name}.{index}"])
                start = programs(learned)
                built.append(Matrix(start + difference, start, None if velocity is None else programs(velocity)))
            memories[name] = tuple(built)
        return memories

    def _state(self, memories: dict[str, Memory]) -> Tree:
        def rows(value: Tensor) -> Tensor:
            value = value.unflatten(1, (-1, self.heads))
            return value if self.seed_axis else value[0]

        state: Tree = {}
        for name in self.config.names:
            for index, matrix in enumerate(memories[name]):
                state[f"{name}.{index}"] = rows(matrix.weight - matrix.initial)
                if matrix.velocity is not None:
                    state[f"{name}.{index}.velocity"] = rows(matrix.velocity)
        return state


def _cut(memories: dict[str, Memory]) -> dict[str, Memory]:
    """The same memories with what was written held constant; the gradient still reaches the initial states."""
    return {
        name: tuple(
            Matrix(m.initial + (m.weight - m.initial).detach(), m.initial, None if m.velocity is None else m.velocity.detach())
            for m in memory
        )
        for name, memory in memories.items()
    }
