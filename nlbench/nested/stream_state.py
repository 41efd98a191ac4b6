"""Fast state that lives as long as its stream: like an LSTM's (h, c), but kept under the stream's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.nested.layers import Tree


class StreamState:
    """The states of any number of streams, one row each, keyed by a stream's name.

    `fresh(rows)` makes the state of `rows` new streams as named tensors with the rows on `axis` (1 behind a seed axis, else 0);
    the `initial_state` of the modules here does, and so does any function that returns {"h": …, "c": …}. A batch is any choice
    of streams in any order, and streams never mix. Evaluate on a `clone`, so that what it reads never reaches the live state.
    """

    def __init__(self, fresh: Callable[[int], Tree], *, axis: int = 0) -> None:
        self.fresh = fresh
        self.axis = axis
        self.rows: dict[str, Tree] = {}

    def gather(self, streams: Sequence[str]) -> Tree:
        """The state of a batch of streams, row i of stream i; a stream not seen before starts fresh."""
        if len(set(streams)) != len(streams):
            raise NlbenchError(
                f"streams: each may be in a batch once, got {list(streams)}.", "Make a stream's tokens one sequence."
            )
        new = [stream for stream in streams if stream not in self.rows]
        rows = dict(self.rows)
        if new:
            rows |= dict(zip(new, self._split(self.fresh(len(new)), len(new)), strict=True))
        if not streams:
            return self.fresh(0)
        first = rows[streams[0]]
        return {name: torch.cat([rows[stream][name] for stream in streams], self.axis) for name in first}

    def carry(self, streams: Sequence[str], state: Tree) -> None:
        """Keep the state that a batch of streams ended with, gradients included."""
        self.rows |= dict(zip(streams, self._split(state, len(streams)), strict=True))

    def detach(self) -> None:
        """Cut the gradient: truncated backpropagation through time ends here."""
        self.rows = {stream: {name: value.detach() for name, value in row.items()} for stream, row in self.rows.items()}

    def reset(self, streams: Iterable[str] | None = None) -> None:
        """Forget these streams, or all of them; they start fresh when they come again."""
        for stream in list(self.rows) if streams is None else streams:
            self.rows.pop(stream, None)

    def clone(self) -> StreamState:
        """An independent copy, detached."""
        copy = StreamState(self.fresh, axis=self.axis)
        copy.load_state_dict(self.state_dict())
        return copy

    def state_dict(self) -> dict[str, Tree]:
        """Every stream's tensors, copied and detached."""
        return {stream: {name: value.detach().clone() for name, value in row.items()} for stream, row in self.rows.items()}

    def load_state_dict(self, state: dict[str, Tree]) -> None:
        """Take over a state that `state_dict` returned, instead of all streams now held."""
        self.rows = {stream: {name: value.clone() for name, value in row.items()} for stream, row in state.items()}

    def _split(self, state: Tree, rows: int) -> list[Tree]:
        for name, value in state.items():
            if value.shape[self.axis] != rows:
                raise NlbenchError(
                    f"state {name!r}: {rows} streams need as many rows on axis {self.axis}, got shape {tuple(value.shape)}.",
                    "Pass exactly the streams of the batch; rows are never padded or cut.",
                )
        pieces: dict[str, tuple[Tensor, ...]] = {name: value.split(1, self.axis) for name, value in state.items()}
        return [{name: pieces[name][row] for name in pieces} for row in range(rows)]
