"""The inputs that `contexts` is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from nlbench.kernels.backends import Backend
from nlbench.kernels.contexts import Assigned, Rules, Values, assign, turn, write
from nlbench.kernels.judging import Case, Draw, Tensors


def _chunk_inputs(draw: Draw, S: int, B: int, D: int, C: int, chunks: int) -> Tensors:
    """Noisy means of classes, whose labels mean something else from the second third of the chunks on."""
    means, labels = draw.normal(S, 1, C, D), draw.integers(C, S, chunks, B)
    keys = means.expand(-1, chunks, -1, -1).gather(2, labels[..., None].expand(-1, -1, -1, D)) + 0.3 * draw.normal(
        S, chunks, B, D
    )
    moved = (torch.arange(chunks) * 3 // chunks % 2)[:, None]
    return {"keys": keys, "labels": (labels + moved) % C, "weights": draw.uniform(1.0, 2.0, S, chunks, B)}


def _run_contexts(tensors: Tensors, *, backend: Backend, room: int, **options: Any) -> Tensors:
    keys, labels, weights = (tensors[name] for name in ("keys", "labels", "weights"))
    (seeds, chunks, _, width), classes = keys.shape, int(labels.max()) + 1
    shapes = (width,), (room, classes, width), (room, classes), (room,), (room,)
    squares, sums, counts, belief, doubts = (keys.new_zeros(seeds, *shape) for shape in shapes)
    values = Values(squares, sums, counts, belief, doubts, used=torch.ones_like(labels[:, 0, 0]))
    rules = Rules(contexts=room, **options)
    write(values, keys[:, 0], labels[:, 0], torch.zeros_like(values.used), weights[:, 0], kept=0.0, backend=backend)
    made = []
    for i in range(1, chunks):
        of_chunk, dimensions = (keys[:, i], labels[:, i]), keys.new_full((seeds,), 6.0)
        made.append(assign(values, *of_chunk, dimensions, rules, backend=backend))
        write(values, *of_chunk, made[-1].chosen, weights[:, i], kept=0.9, backend=backend)
    names = ("squares", "sums", "counts", "belief", "doubts", "used")
    found = {field: torch.stack([getattr(each, field) for each in made], 1) for field in Assigned._fields}
    return found | dict(zip(names, values.tensors(), strict=True))


def _case(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    rules = {"opening": 10.0, "hazard": 0.05, "warm_up": 32, "doubt": 10.0, "tolerance": 0.25, "least": -276.0}
    options = {"room": 3, **rules, **options}
    return Case("contexts", name, _chunk_inputs, _run_contexts, sizes, options, differentiable=False, dtypes=(torch.float32,))


def _stored(draw: Draw, S: int, G: int, C: int, D: int) -> Tensors:
    return {"store": draw.normal(S, G, C, D), "weights": draw.normal(S, C, D), "contexts": draw.integers(G, S, 6)}


def _run_turn(tensors: Tensors, *, backend: Backend) -> Tensors:
    store, weights, contexts = (tensors[name] for name in ("store", "weights", "contexts"))
    present, used = torch.zeros_like(contexts[:, 0]), store.new_zeros(store.shape[:2], dtype=torch.bool)
    for own in contexts.unbind(1):
        turn(store, weights, present, used, own, backend=backend)
        weights += 1.0
    return {"store": store, "weights": weights, "present": present, "used": used.to(store.dtype)}


CONTEXTS: Final = (
    _case("labels-that-change", {"S": 2, "B": 16, "D": 30, "C": 4, "chunks": 12}),
    _case("many-tokens-and-classes", {"S": 1, "B": 70, "D": 70, "C": 20, "chunks": 6}),
    _case("no-room", {"S": 1, "B": 16, "D": 30, "C": 4, "chunks": 9}, room=1),
    _case("undoubted", {"S": 1, "B": 16, "D": 30, "C": 4, "chunks": 9}, doubt=0.0),
    Case(
        "contexts", "turn", _stored, _run_turn, {"S": 3, "G": 4, "C": 5, "D": 30}, differentiable=False, dtypes=(torch.float32,)
    ),
    replace(
        _case("10-seeds-hope", {"S": 10, "B": 64, "D": 501, "C": 10, "chunks": 4}, room=10),
        flops=10 * 4 * 2 * 64 * 501 * 101.0,
    ),
)
