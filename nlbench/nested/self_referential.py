"""Self-referential Titans: memories that make their own keys, values, rates, retentions and targets, and learn as they read.

Letters: S seeds, B rows (each a stream of its own), H heads, P = B H memories of a kind, L tokens, D width, d = D / H, h hidden.
The learned initial states M_□,0 are parameters; a stream's state holds only the differences M_□ - M_□,0 that its tokens wrote.

Source: Nested Learning (arXiv 2512.24695), eq. 76-93: chunk index C(⌈t/C⌉ - 1) in 90, +η v̂kᵀ in 92, no identity path for the
scalar gates of 89, read before write as in 83.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.kernels.backends import Backend, resolve
from nlbench.kernels.memory_scan import Read, memory_scan
from nlbench.kernels.self_referential_scan import LONGEST_SEGMENT, WIDEST, Memories, self_referential_scan
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
    self_modifying  False: keys, values and gates are made by their initial states alone, and a value is its own target: Titans,
                    whose only memory is the main one; a bare matrix with "dot", retention to zero and exact reads is then the
                    gated delta rule
    backend      the implementation of the scan that writes; only "reference" can be differentiated twice
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
    self_modifying: bool = True
    truncation: int | None = 4
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        for name, known in (("form", Form), ("objective", Objective), ("read", Read), ("retention", Retention)):
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known))
        ranges = {
            "rate_max: must be >= 0": self.rate_max is None or self.rate_max >= 0,
            "retain_min: must be in [0, 1]": 0 <= self.retain_min <= 1,
            "momentum: must be in [0, 1)": 0 <= self.momentum < 1,
            "target_clip: must be > 0": self.target_clip is None or self.target_clip > 0,
            "truncation: must be >= 0": self.truncation is None or self.truncation >= 0,
        }
        if broken := [rule for rule, holds in ranges.items() if not holds]:
            raise NlbenchError("; ".join(broken) + f", got {self}.", "See SelfReferentialConfig for what each does.")
        if self.chunk < 1 or self.outer_chunk < 1 or self.outer_chunk % self.chunk:
            raise NlbenchError(
                f"outer_chunk: must be a multiple of chunk ≥ 1, got {self.outer_chunk} and {self.chunk}.", "Use e.g. 64 and 16."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The memories, `memory` last."""
        return ("key", "value", *GATES, *(("query",) if self.adaptive_query else ()), "memory")

    @property
    def written(self) -> tuple[str, ...]:
        """The memories that learn as they read, which a stream's state holds."""
        return self.names if self.self_modifying else ("memory",)

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
    """One weight matrix of every stream, as initial + difference.

    initial               (S, H, ·, ·)  learned, the same for all rows; programs are ordered head by head, P = H B
    difference, velocity  (S, P, ·, ·)  what the stream wrote; None: nothing yet
    """

    initial: Tensor
    difference: Tensor | None = None
    velocity: Tensor | None = None

    def times(self, z: Tensor) -> Tensor:
        """W z for z (S, P, L, d_in)."""
        return self._apply(z, self.initial.mT, None if self.difference is None else self.difference.mT)

    def transposed_times(self, z: Tensor) -> Tensor:
        """Wᵀ z for z (S, P, L, d_out)."""
        return self._apply(z, self.initial, self.difference)

    def initial_times(self, z: Tensor) -> Tensor:
        """W_0 z, without what the stream wrote."""
        return self._apply(z, self.initial.mT, None)

    def _apply(self, z: Tensor, initial: Tensor, difference: Tensor | None) -> Tensor:
        rows = z.reshape(*initial.shape[:2], -1, z.shape[-1])
        y = (rows @ initial).view(*z.shape[:-1], initial.shape[-1])
        return y if difference is None else y + z @ difference


class Group(NamedTuple):
    """Memories that learn the same tokens: their first matrices side by side in one, their second ones (none if linear) apart."""

    names: tuple[str, ...]
    widths: tuple[int, ...]
    first: Matrix
    second: tuple[Matrix, ...]

    def hidden(self, z: Tensor) -> dict[str, Tensor]:
        """What each first matrix makes of z (S, P, L, d)."""
        return dict(zip(self.names, self.first.times(z).split(self.widths, -1), strict=True))

    def answers(self, hidden: dict[str, Tensor], z: Tensor, config: SelfReferentialConfig) -> dict[str, Tensor]:
        """M(z) of each memory, given what its first matrix made of z."""
        if self.second:
            hidden = {name: outer.times(F.gelu(hidden[name])) for name, outer in zip(self.names, self.second, strict=True)}
        return {name: z + y if config.residual(name) else y for name, y in hidden.items()}


def half_life(retain: Tensor) -> Tensor:
    """Tokens after which a memory that keeps the share α = `retain` per token has lost half: ln ½ / ln α; infinite at α = 1."""
    return math.log(0.5) / torch.log(retain)


def learn(group: Group, tokens: Tokens, config: SelfReferentialConfig) -> tuple[Group, Tensor | None]:
    """The memories after one chunk of tokens; with queries (then there is one memory) also what its matrices answered.

    Targets and gradients come from the states at the chunk start, the decay acts on the running state (eq. 90). All first
    matrices see the same keys, so one scan writes them side by side. A second matrix sees the hidden activations, shortened to
    length ≤ 1 for the decay.
    """
    both = torch.cat([tokens.values, tokens.keys], -2)
    hidden = group.hidden(both)
    given = None if config.self_modifying else tokens.values
    errors = {name: _error(y, given, config) for name, y in group.answers(hidden, both, config).items()}
    before = {name: value.chunk(2, -2)[1] for name, value in hidden.items()}
    slopes = errors
    if group.second:
        back = {name: outer.transposed_times(errors[name]) for name, outer in zip(group.names, group.second, strict=True)}
        slopes = {name: gelu_slope(before[name]) * back[name] for name in group.names}
    first, answers = _write(group.first, tokens, torch.cat([slopes[name] for name in group.names], -1), config)
    second = []
    for name, matrix in zip(group.names, group.second, strict=False):
        activation = F.gelu(before[name])
        length = torch.linalg.vector_norm(activation, dim=-1, keepdim=True).clamp_min(1.0)
        inner = tokens._replace(keys=activation / length, queries=None if answers is None else F.gelu(answers))
        outer, answers = _write(matrix, inner, errors[name] * length, config)
        second.append(outer)
    return group._replace(first=first, second=tuple(second)), answers


def _error(y: Tensor, given: Tensor | None, config: SelfReferentialConfig) -> Tensor:
    """-∂L/∂y at the given target v̂, or at the memory's own v̂ = M(v), from y = M at the values and then at the keys: v̂ - M(k) or,
    for "dot", v̂.
    """
    target, answer = y.chunk(2, -2)
    if given is not None:
        target = given
    if config.target_clip is not None:
        length = torch.linalg.vector_norm(target, dim=-1, keepdim=True)
        target = target * (config.target_clip / length.clamp_min(config.target_clip))
    return target - answer if config.objective == "l2" else target


def _write(matrix: Matrix, tokens: Tokens, errors: Tensor, config: SelfReferentialConfig) -> tuple[Matrix, Tensor | None]:
    """The matrix after M ← M(αI - η k kᵀ) + η e kᵀ over one chunk, and its answers to the queries.

    The errors are known, so retention to the initial state is the same recurrence on the difference alone.
    """
    programs = tokens.keys.shape[1]
    difference, start = matrix.difference, matrix.initial.repeat_interleave(programs // matrix.initial.shape[1], 1)
    if difference is None:
        difference = torch.zeros_like(start)
    to_zero = config.retention == "zero"
    scan = memory_scan(
        start + difference if to_zero else difference,
        tokens.keys,
        errors,
        tokens.rate,
        tokens.retain,
        chunk=max(1, tokens.keys.shape[-2]),
        queries=tokens.queries,
        read=config.read,
        momentum=torch.full_like(tokens.rate, config.momentum) if config.momentum else None,
        velocity=matrix.velocity,
        backend=config.backend,
    )
    answers = scan.outputs
    if answers is not None and tokens.queries is not None and not to_zero:
        answers = answers + matrix.initial_times(tokens.queries)
    return Matrix(matrix.initial, scan.memory - start if to_zero else scan.memory, scan.velocity), answers


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

    def extra_repr(self) -> str:
        """What `print(module)` says of it: how long its memories last while the gates are at their biases."""
        low, bias = self.config.retain_min, self.retain_bias.detach().double().mean()
        tokens = float(half_life(low + (1 - low) * torch.sigmoid(bias)))
        return (
            f"heads={self.heads}, form={self.config.form!r}, retention to {self.config.retention}, half-life {tokens:.1f} tokens"
        )

    def initial_state(self, rows: int) -> Tree:
        """The state of `rows` fresh streams: all zeros, each tensor ((S,) rows, H, ·, ·)."""
        state: Tree = {}
        for name in self.config.written:
            for index, matrix in enumerate(self.initial[name].parameters()):
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
        if not x.shape[-2]:
            return x, self.initial_state(x.shape[-3]) if state is None else state
        if self._is_one_scan(x):
            return self._scanned(x, state)
        tokens = self._heads(x)
        fixed = None if self.query is None else self._heads(self.query(x))
        memory, others = self._group(("memory",), state), self._group(config.names[:-1], state)
        outputs = []
        for number, start in enumerate(range(0, x.shape[-2], config.outer_chunk)):
            if config.truncation == 0 or (config.truncation is not None and number % config.truncation == 0):
                memory, others = _cut(memory), _cut(others)
            segment = slice(start, start + config.outer_chunk)
            asked = self._ask(others, tokens[..., segment, :], None if fixed is None else fixed[..., segment, :])
            memory, answers = self._read_and_write(memory, asked)
            outputs.append(answers)
            if config.self_modifying:
                rate = config.rate_cap(config.outer_chunk) * asked.rate
                others, _ = learn(others, asked._replace(rate=rate, queries=None), config)
        return self._tokens(torch.cat(outputs, -2)), self._state(memory) | self._state(others)

    def _is_one_scan(self, x: Tensor) -> bool:
        """Whether one program learns all memories: on a CPU where they are written at the same time and rate; on a GPU where no
        target is clipped and no gradient cut.
        """
        config = self.config
        plain = config.form == "linear" and config.retention == "init" and not config.momentum and not config.adaptive_query
        if not (plain and config.self_modifying):
            return False
        backend = resolve(self_referential_scan.__module__, config.backend, x)
        if backend == "triton":
            fits = self.width <= WIDEST and config.outer_chunk <= LONGEST_SEGMENT
            return fits and config.target_clip is None and config.truncation is None
        return backend == "numba" and config.chunk == config.outer_chunk and config.read == "stale" and config.truncation != 0

    def _scanned(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tree]:
        """`forward` by `self_referential_scan`."""
        config, rows, names = self.config, x.shape[-3], self.config.names

        def memories(matrices: list[Tensor]) -> Memories:
            return Memories(*(each[:, :, 0] if name in GATES else each for name, each in zip(names, matrices, strict=True)))

        learned = [self._batched(next(self.initial[name].parameters())).repeat_interleave(rows, 1) for name in names]
        before = learned
        if state is not None:
            before = [home + self._programs(state[f"{name}.0"]) for name, home in zip(names, learned, strict=True)]
        after, y = self_referential_scan(
            self._heads(x),
            unit(self._heads(cast(Linear, self.query)(x))),
            memories(before),
            *(bias.view(-1, self.heads).repeat_interleave(rows, 1) for bias in (self.rate_bias, self.retain_bias)),
            chunk=config.chunk,
            outer_chunk=config.outer_chunk,
            rate_max=config.rate_cap(config.chunk),
            outer_rate_max=config.rate_cap(config.outer_chunk),
            retain_min=config.retain_min,
            objective=config.objective,
            read=config.read,
            normalize_values=config.normalize_values,
            initial=memories(learned),
            target_clip=config.target_clip,
            truncation=config.truncation,
            backend=config.backend,
        )
        new: Tree = {}
        for name, each, home in zip(names, after, learned, strict=True):
            new[f"{name}.0"] = self._rows((each[:, :, None] if name in GATES else each) - home)
        return self._tokens(y), new

    def _read_and_write(self, memory: Group, asked: Tokens) -> tuple[Group, Tensor]:
        """The main memory after a segment, and what it answered: read, then write, chunk by chunk."""
        config, answers = self.config, []
        for start in range(0, asked.rate.shape[-1], config.chunk):
            part = asked.part(start, config.chunk)
            memory, read = learn(memory, part._replace(rate=config.rate_cap(config.chunk) * part.rate), config)
            answers.append(cast(Tensor, part.queries if config.residual("memory") else 0) + cast(Tensor, read))
            if config.truncation == 0:
                memory = _cut(memory)
        return memory, torch.cat(answers, -2)

    def gates(self, x: Tensor, state: Tree | None = None) -> tuple[Tensor, Tensor]:
        """The share σ(·) of the largest rate, and the retention α, that this state gives to tokens x, ((S,) B, H, L)."""
        z = self._heads(x)
        group = self._group(GATES, state)
        gates = self._gates(group.answers(group.hidden(z), z, self.config))
        rate, retain = (gate.unflatten(1, (self.heads, -1)).transpose(1, 2) for gate in gates)
        return (rate, retain) if self.seed_axis else (rate[0], retain[0])

    def half_life(self, x: Tensor, state: Tree | None = None) -> Tensor:
        """The live half-life in tokens, ((S,) B, H, L): how long a memory would last if every token were like this one."""
        return half_life(self.gates(x, state)[1])

    def _gates(self, made: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The bounded gates (S, P, L) from what their memories made of the tokens."""
        rate, retain = (
            torch.sigmoid(
                made[name][..., 0] + bias.view(-1, self.heads).repeat_interleave(made[name].shape[1] // self.heads, 1)[..., None]
            )
            for name, bias in zip(GATES, (self.rate_bias, self.retain_bias), strict=True)
        )
        return rate, self.config.retain_min + (1 - self.config.retain_min) * retain

    def _ask(self, others: Group, x: Tensor, query: Tensor | None) -> Tokens:
        """The keys, values, gates and queries of a segment, from the states at its start."""
        made = others.answers(others.hidden(x), x, self.config)
        values = unit(made["value"]) if self.config.normalize_values else made["value"]
        rate, retain = self._gates(made)
        return Tokens(unit(made["key"]), values, rate, retain, unit(made["query"] if query is None else query))

    def _heads(self, x: Tensor) -> Tensor:
        """((S,) B, L, D) -> (S, H B, L, d)."""
        return self._batched(x).unflatten(-1, (self.heads, self.width)).movedim(3, 1).flatten(1, 2)

    def _tokens(self, y: Tensor) -> Tensor:
        """(S, H B, L, d) -> ((S,) B, L, D)."""
        y = y.unflatten(1, (self.heads, -1)).movedim(1, 3).flatten(3)
        return y if self.seed_axis else y[0]

    def _batched(self, value: Tensor) -> Tensor:
        return value if self.seed_axis else value[None]

    def _programs(self, value: Tensor) -> Tensor:
        """((S,) B, H, ·, ·) -> (S, H B, ·, ·)."""
        return self._batched(value).transpose(1, 2).flatten(1, 2)

    def _rows(self, value: Tensor) -> Tensor:
        """(S, H B, ·, ·) -> ((S,) B, H, ·, ·)."""
        rows = value.unflatten(1, (self.heads, -1)).transpose(1, 2)
        return rows if self.seed_axis else rows[0]

    def _group(self, names: tuple[str, ...], state: Tree | None) -> Group:
        """These memories of every row and head; a fresh stream's have no difference yet."""

        held = {} if state is None or names[0] not in self.config.written else state

        def programs(name: str) -> Tensor | None:
            return self._programs(held[name]) if held else None

        def matrix(name: str, index: int) -> Matrix:
            learned = self._batched(list(self.initial[name].parameters())[index])
            velocity = programs(f"{name}.{index}.velocity") if self.config.momentum else None
            return Matrix(learned, programs(f"{name}.{index}"), velocity)

        firsts = [matrix(name, 0) for name in names]
        joined = [
            None if parts[0] is None else torch.cat(parts, -2) for parts in zip(*(each[1:] for each in firsts), strict=True)
        ]
        initial = torch.cat([each.initial for each in firsts], -2)
        second = tuple(matrix(name, 1) for name in names) if self.config.form == "mlp" else ()
        return Group(names, tuple(each.initial.shape[-2] for each in firsts), Matrix(initial, *joined), second)

    def _state(self, group: Group) -> Tree:
        state: Tree = {}

        def keep(name: str, value: Tensor | None) -> None:
            if value is not None:
                state[name] = self._rows(value)

        for part, attribute in (("", "difference"), (".velocity", "velocity")):
            joined = getattr(group.first, attribute)
            pieces = (None,) * len(group.names) if joined is None else joined.split(group.widths, -2)
            for index, (name, piece) in enumerate(zip(group.names, pieces, strict=True)):
                keep(f"{name}.0{part}", piece)
                if group.second:
                    keep(f"{name}.1{part}", getattr(group.second[index], attribute))
        return state


def _cut(group: Group) -> Group:
    """The same memories with what was written held constant; the gradient still reaches the initial states."""

    def constant(matrix: Matrix) -> Matrix:
        return Matrix(matrix.initial, *(None if part is None else part.detach() for part in matrix[1:]))

    return group._replace(first=constant(group.first), second=tuple(constant(matrix) for matrix in group.second))
