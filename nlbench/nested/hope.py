"""HOPE: self-referential Titans followed by a continuum memory, in residual blocks, and its sibling with attention.

Letters: S seeds, B rows, L tokens, D width, H heads. Every module maps ((S,) B, L, D) and a state to the same shape and a state.

Source: Nested Learning (arXiv 2512.24695), eq. 94-97 and section 8; residuals and norms, which 97 leaves out, are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.continuum import ContinuumMemory, Variant
from nlbench.nested.layers import CausalConvolution, Draws, LayerNorm, Linear, Seeds, Tree, unit
from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig

Mixer = Literal["titans", "attention"]


class Attention(nn.Module):
    """Causal softmax attention with unit queries and keys and a learned temperature: the non-parametric memory of Hope-Attention.

    A token sees itself and the `window - 1` tokens before it (all, if None); a stream carries the keys and values for that.
    """

    def __init__(self, dim: int, heads: int, draws: Draws, *, window: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise NlbenchError(f"heads: must divide the width {dim}, got {heads}.", "Attention heads need equal width.")
        if window is not None and window < 1:
            raise NlbenchError(f"window: must be at least 1 token, got {window}.", "None sees every token so far.")
        self.heads, self.window = heads, window
        self.project = Linear(dim, 3 * dim, draws.within("project"), bias=False)
        self.log_temperature = draws.constant(1.0, heads)

    def initial_state(self, rows: int) -> Tree:
        """The state of `rows` fresh streams: no keys and no values, each ((S,) rows, H, 0, D / H)."""
        weight = self.project.weight
        empty = weight.new_zeros(*weight.shape[:-2], rows, self.heads, 0, weight.shape[-1] // self.heads)
        return {"keys": empty, "values": empty}

    def forward(self, x: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """The attended values and the state after the last token."""
        query, key, value = (part.transpose(-2, -3) for part in self.project(x).unflatten(-1, (3, self.heads, -1)).unbind(-3))
        keys, values = torch.cat([state["keys"], unit(key)], -2), torch.cat([state["values"], value], -2)
        length, seen = x.shape[-2], keys.shape[-2]
        age = torch.arange(seen - length, seen, device=x.device)[:, None] - torch.arange(seen, device=x.device)
        visible = (age >= 0) & (age < (self.window or seen))
        temperature = self.log_temperature.exp().unsqueeze(-2)[..., None, None]
        read = F.scaled_dot_product_attention(temperature * unit(query), keys, values, attn_mask=visible, scale=1.0)
        kept = seen if self.window is None else min(seen, self.window - 1)
        tail = {"keys": keys[..., seen - kept :, :], "values": values[..., seen - kept :, :]}
        return read.transpose(-2, -3).flatten(-2), tail


class HopeBlock(nn.Module):
    """norm → causal convolution → memories (or attention) → norm, gate, projection → residual → continuum memory.

    The convolution (depthwise, window 4) is on the block's input and its last three tokens are state; each level of the continuum
    memory has its own norm and residual.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        periods: Sequence[int],
        *,
        cms: Variant = "sequential",
        mixer: Mixer = "titans",
        config: SelfReferentialConfig | None = None,
        seeds: Seeds = 0,
        draws: Draws | None = None,
    ) -> None:
        super().__init__()
        draws = draws or Draws.of(seeds)
        if mixer not in get_args(Mixer):
            raise UnknownNameError("mixer", mixer, get_args(Mixer))
        self.norm = LayerNorm(dim, draws.within("norm"))
        self.convolution = CausalConvolution(dim, draws.within("convolution"))
        self.mixer: SelfReferential | Attention
        if mixer == "titans":
            self.mixer = SelfReferential(dim, heads, config, draws=draws.within("titans"))
        else:
            self.mixer = Attention(dim, heads, draws.within("attention"))
        self.read_norm = LayerNorm(dim, draws.within("read_norm"))
        self.gate = Linear(dim, dim, draws.within("gate"))
        self.project = Linear(dim, dim, draws.within("project"))
        self.memory = ContinuumMemory.of_blocks(dim, 2 * dim, periods, variant=cms, draws=draws.within("memory"))

    def initial_state(self, rows: int) -> Tree:
        """The state of `rows` fresh streams."""
        weight = self.convolution.weight
        tail = weight.new_zeros(*weight.shape[:-2], rows, self.convolution.window - 1, weight.shape[-1])
        return {"tail": tail} | {f"mixer.{name}": value for name, value in self.mixer.initial_state(rows).items()}

    def forward(self, x: Tensor, state: Tree | None = None) -> tuple[Tensor, Tree]:
        """The block's output and the state after the last token."""
        state = self.initial_state(x.shape[-3]) if state is None else state
        z, tail = self.convolution(self.norm(x), state["tail"])
        read, mixed = self.mixer(z, {name.removeprefix("mixer."): value for name, value in state.items() if name != "tail"})
        x = x + self.project(self.read_norm(read) * F.silu(self.gate(z)))
        return self.memory(x), {"tail": tail} | {f"mixer.{name}": value for name, value in mixed.items()}


class Hope(nn.Module):
    """`depth` HOPE blocks; arguments as in `HopeBlock`. With mixer="attention" it is Hope-Attention."""

    def __init__(
        self,
        dim: int,
        heads: int,
        periods: Sequence[int],
        *,
        depth: int = 1,
        seeds: Seeds = 0,
        draws: Draws | None = None,
        **block: Any,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise NlbenchError(f"depth: must be at least 1 block, got {depth}.", "Stack one block or more.")
        draws = draws or Draws.of(seeds)
        self.blocks = nn.ModuleList(
            HopeBlock(dim, heads, periods, draws=draws.within(f"block{index}"), **block) for index in range(depth)
        )

    def initial_state(self, rows: int) -> Tree:
        """The state of `rows` fresh streams, block by block."""
        return {
            f"{index}.{name}": value
            for index, block in enumerate(self.blocks)
            for name, value in cast(HopeBlock, block).initial_state(rows).items()
        }

    def forward(self, x: Tensor, state: Tree | None = None) -> tuple[Tensor, Tree]:
        """The last block's output and every block's state after the last token."""
        state = self.initial_state(x.shape[-3]) if state is None else state
        new: Tree = {}
        for index, block in enumerate(self.blocks):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            x, own = block(x, own)
            new |= {prefix + name: value for name, value in own.items()}
        return x, new


class HopeClassifier(nn.Module):
    """Logits for one vector, which HOPE reads as a short sequence of its parts; the memories start fresh for each vector.

    (N, input_dim) -> (N, output_dim), with the seed axis in front if built with several seeds; a row's answer does not depend on
    the others. Train it with an ordinary loop and a `LevelOptimizer`, which gives every level of the memories its period.

    tokens  parts of equal length that the vector is cut into
    block   further arguments of `HopeBlock`: heads (8), mixer, and config of the memories (residual-linear, chunks of two tokens)
    """

    def __init__(
        self,
        input_dim: int = 64,
        hidden_dim: int = 128,
        output_dim: int = 10,
        periods: Sequence[int] = (1, 4, 16),
        cms: Variant = "nested",
        depth: int = 3,
        *,
        tokens: int = 4,
        seeds: Seeds = 0,
        **block: Any,
    ) -> None:
        super().__init__()
        if tokens < 1 or input_dim % tokens:
            raise NlbenchError(f"tokens: must divide input_dim {input_dim}, got {tokens}.", "Cut the vector into equal parts.")
        draws = Draws.of(seeds)
        self.tokens, self.input_shape = tokens, (*([len(draws.seeds)] if draws.seed_axis else []), -1, input_dim)
        self.embed = Linear(input_dim // tokens, hidden_dim, draws.within("embed"))
        self.position = draws.normal("position", tokens, hidden_dim, std=0.5)
        block = dict[str, Any]() | {"heads": 8, "config": SelfReferentialConfig(form="linear", chunk=2, outer_chunk=2)} | block
        self.hope = Hope(hidden_dim, periods=periods, depth=depth, cms=cms, draws=draws.within("hope"), **block)
        self.norm = LayerNorm(hidden_dim, draws.within("norm"))
        self.head = Linear(hidden_dim, output_dim, draws.within("head"))

    def forward(self, x: Tensor) -> Tensor:
        """Logits. Raises `NlbenchError` for inputs of another shape."""
        if x.ndim != len(self.input_shape) or any(n not in (-1, m) for n, m in zip(self.input_shape, x.shape, strict=True)):
            wanted = ", ".join("N" if n < 0 else str(n) for n in self.input_shape)
            raise NlbenchError(f"inputs: must be ({wanted}), got {tuple(x.shape)}.", "Seeds come first, only if it has several.")
        embedded = self.embed(x.unflatten(-1, (self.tokens, -1)))
        read, _ = self.hope(embedded + self.position.unsqueeze(-3))
        return self.head(self.norm(read).mean(-2))
