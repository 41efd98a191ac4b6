"""The steps of training: inputs of every op that learns from a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor

from nlbench.kernels import batch_product
from nlbench.kernels.backends import Backend
from nlbench.kernels.block_step import BlockWeights, block_step
from nlbench.kernels.chain_step import Chain, Linear, chain_step
from nlbench.kernels.continuum_step import continuum_step
from nlbench.kernels.judging import Case, Draw, Edit, Tensors
from nlbench.kernels.metric_update import accumulate, bounded, metric_step, metric_update, protecting, read_out, whole
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.mlp_step import mlp_step
from nlbench.kernels.newton_schulz import CUBIC, newton_schulz

SINGLE: Final = (torch.float32,)


def _identical_metric_keys(tensors: Tensors) -> None:
    tensors["keys"][:] = tensors["keys"][:, :1].clone()


def _zero_keys(tensors: Tensors) -> None:
    tensors["keys"].zero_()


def _mlp_inputs(draw: Draw, S: int, B: int, widths: tuple[int, ...], momentum: bool = False) -> Tensors:
    tensors = {"inputs": draw.normal(S, B, widths[0]), "labels": draw.integers(widths[-1] - 1, S, B)}
    tensors["classes"] = torch.arange(widths[-1]) < widths[-1] - 1
    for i, (d_in, d_out) in enumerate(pairwise(widths)):
        tensors |= {f"weight{i}": draw.normal(S, d_out, d_in) * d_in**-0.5, f"bias{i}": 0.1 * draw.normal(S, d_out)}
        if momentum:
            tensors |= {f"weight_velocity{i}": draw.normal(S, d_out, d_in), f"bias_velocity{i}": draw.normal(S, d_out)}
    return tensors


def _named(tensors: Tensors, prefix: str) -> list[Tensor]:
    return [each for name, each in tensors.items() if name.rstrip("0123456789") == prefix]


def _run_logits(tensors: Tensors, **options: Any) -> Tensors:
    return {"logits": mlp_logits(_named(tensors, "weight"), _named(tensors, "bias"), tensors["inputs"], **options)}


def _logits(name: str, sizes: Mapping[str, Any]) -> Case:
    return Case("mlp_logits", name, _mlp_inputs, _run_logits, sizes, differentiable=False)


def _product_inputs(draw: Draw, S: int, B: int, V: int, D: int) -> Tensors:
    return {"matrix": draw.normal(S, V, D), "keys": draw.normal(S, B, D), "errors": draw.normal(S, B, V)}


def _large_and_tiny(tensors: Tensors) -> None:
    tensors["keys"] *= 10.0 ** torch.linspace(-12, 12, tensors["keys"].shape[2], dtype=torch.float64)
    tensors["matrix"] *= 10.0 ** torch.linspace(12, -12, tensors["matrix"].shape[2], dtype=torch.float64)


def _run_product(tensors: Tensors, *, backend: Backend) -> Tensors:
    """Products before and after a step, which must change the parts too."""
    keys, errors = torch.nn.functional.pad(tensors["keys"], (0, 3))[..., :-3], tensors["errors"]
    some = tensors["keys"][:, : tensors["keys"].shape[1] // 2 + 1]
    made = batch_product.factor(tensors["matrix"].clone(), below=True, backend=backend)
    before = {"answer": made.answer(keys), "below": made.below(errors)}
    made.step(errors, made.lay(keys), scale=-0.3)
    after = {"answer after": made.answer(keys), "below after": made.below(errors)}
    return before | after | {"matrix": made.matrix, "inner": made.inner(keys, some)}


def _product(name: str, sizes: Mapping[str, Any], *, edit: Edit | None = None) -> Case:
    return Case("batch_product", name, _product_inputs, _run_product, sizes, {}, edit, differentiable=False, dtypes=SINGLE)


def _run_answer(tensors: Tensors, *, backend: Backend) -> Tensors:
    return {"answer": batch_product.factor(tensors["matrix"], backend=backend).answer(tensors["keys"])}


def _run_mlp(tensors: Tensors, *, backend: Backend, steps: int = 3, **options: Any) -> Tensors:
    changed = {name: _named(tensors, name) for name in ("weight", "bias", "weight_velocity", "bias_velocity")}
    for _ in range(steps):
        loss = mlp_step(
            changed["weight"],
            changed["bias"],
            tensors["inputs"],
            tensors["labels"],
            tensors["classes"],
            weight_velocities=changed["weight_velocity"],
            bias_velocities=changed["bias_velocity"],
            **options,
            backend=backend,
        )
    return {"loss": loss} | {f"{name}{i}": each for name, several in changed.items() for i, each in enumerate(several)}


def _mlp(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    return Case("mlp_step", name, _mlp_inputs, _run_mlp, sizes, {"rate": 0.1, **options}, differentiable=False)


def _chain_inputs(draw: Draw, S: int, B: int, D: int, H: int, V: int, blocks: int, K: int | None = None) -> Tensors:
    """With inputs K wide there is an embedding."""
    tensors = {"inputs": draw.normal(S, B, K or D), "labels": draw.integers(V - 1, S, B), "classes": torch.arange(V) < V - 1}
    if K:
        tensors |= {"weight0": draw.normal(S, D, K) * K**-0.5, "bias0": 0.1 * draw.normal(S, D)}
    for b in range(blocks):
        parts = _block_inputs(draw, S, 1, D, H)
        tensors |= {f"{name}{b}": parts[name] for name in BlockWeights._fields}
    tensors |= {"weight1": draw.normal(S, V, D) * D**-0.5, "bias1": 0.1 * draw.normal(S, V)}
    weights = {f"gathered {name}": torch.zeros_like(each) for name, each in list(tensors.items())[3:]}
    return tensors | weights


def _run_chain(tensors: Tensors, *, backend: Backend, steps: int = 2) -> Tensors:
    """The first block's gradients are gathered, the others descend at once."""
    n = sum(name.startswith("up_bias") for name in tensors)

    def chain(prefix: str) -> Chain:
        def of(name: str) -> Tensor:
            return tensors[prefix + name]

        blocks = tuple(BlockWeights(*(of(f"{name}{b}") for name in BlockWeights._fields)) for b in range(n))
        embedding = Linear(of("weight0"), of("bias0")) if "weight0" in tensors else None
        return Chain(embedding, blocks, Linear(of("weight1"), of("bias1")))

    own, gathered = chain(""), chain("gathered ")
    targets = Chain(gathered.embedding, (gathered.blocks[0], *own.blocks[1:]), own.readout)
    for _ in range(steps):
        factors = [1.0] + [-0.1] * (n - 1)
        loss = chain_step(own, targets, factors, tensors["inputs"], tensors["labels"], tensors["classes"], backend=backend)
    return {"loss": loss} | {
        f"{kind} {i}": each for kind, held in (("own", own), ("gathered", gathered)) for i, each in enumerate(held.tensors())
    }


def _chain(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    return Case("chain_step", name, _chain_inputs, _run_chain, sizes, options, differentiable=False)


def _metric_inputs(draw: Draw, S: int, L: int, D: int, V: int, ridge: float = 1.0) -> Tensors:
    return {
        "memory": 0.1 * draw.normal(S, V, D),
        "precision": torch.eye(D, dtype=torch.float64).repeat(S, 1, 1) / ridge,
        "keys": draw.normal(S, L, D) * D**-0.5,
        "targets": draw.normal(S, L, V),
    }


def _run_metric(tensors: Tensors, *, backend: Backend, **options: Any) -> Tensors:
    return metric_update(**tensors, **options, backend=backend)._asdict()  # type: ignore[arg-type]


def _metric(name: str, sizes: Mapping[str, Any], *, edit: Edit | None = None, chunk: int = 16, **others: Any) -> Case:
    return Case("metric_update", name, _metric_inputs, _run_metric, sizes, {"chunk": chunk}, edit, **others)


def _protected_inputs(draw: Draw, S: int, B: int, D: int, V: int) -> Tensors:
    keys = draw.normal(S, 3 * B, D)
    return {
        "weights": draw.normal(S, V, D),
        "gram": keys.mT @ keys,
        "keys": draw.normal(S, B, D),
        "surprises": draw.normal(S, B, V) / B,
    }


def _run_protected(tensors: Tensors, *, backend: Backend, ridge: float, **options: Any) -> Tensors:
    weights, gram = tensors["weights"], tensors["gram"]
    projector = protecting(gram, ridge, backend=backend)
    for _ in range(2):
        metric_step(weights, gram, projector, tensors["keys"], tensors["surprises"], **options, backend=backend)
    return {"weights": weights, "gram": whole(gram), "projector": projector}


def _protected(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    options = {"ridge": 10.0, "rate": 0.1, "share": 0.25, "retain": 0.9, **options}
    return Case("metric_update", name, _protected_inputs, _run_protected, sizes, options, differentiable=False)


def _read_out_inputs(draw: Draw, S: int, B: int, D: int, V: int) -> Tensors:
    return {
        "keys": torch.cat([draw.normal(S, 2 * B, D - 1).relu(), torch.ones(S, 2 * B, 1, dtype=torch.float64)], -1),
        "memory": draw.normal(S, V, D) * D**-0.5,
        "labels": draw.integers(V - 1, S, B),
        "classes": torch.arange(V) < V - 1,
        "directions": draw.normal(S, 2 * B, D),
    }


def _run_read_out(tensors: Tensors, *, backend: Backend, surprise: float, bound: float) -> Tensors:
    """The second of two chunks, whose rows lie apart from seed to seed."""
    memory, labels, classes = (tensors[name] for name in ("memory", "labels", "classes"))
    (_, keys), (_, directions) = (tensors[name].chunk(2, 1) for name in ("keys", "directions"))
    losses, errors, below = read_out(keys, memory, labels, classes, surprise=surprise, backend=backend)
    shorter = bounded(below, directions, bound, chunk=below.shape[1], backend=backend)
    return {"losses": losses, "errors": errors, "below": below, "shorter": shorter}


def _gather_inputs(draw: Draw, S: int, B: int, D: int) -> Tensors:
    return {"gram": draw.normal(S, D, D), "keys": draw.normal(S, B, D)}


def _run_gather(tensors: Tensors, *, backend: Backend) -> Tensors:
    gram = tensors["gram"].clone()
    accumulate(gram, tensors["keys"], retain=0.9, backend=backend)
    return {"gram": whole(gram)}


def _gather(name: str, sizes: Mapping[str, Any]) -> Case:
    return Case("metric_update", name, _gather_inputs, _run_gather, sizes, differentiable=False)


def _read_out(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    options = {"surprise": 0.7, "bound": 0.05, **options}
    return Case("metric_update", name, _read_out_inputs, _run_read_out, sizes, options, differentiable=False)


def _matrix_inputs(draw: Draw, shape: tuple[int, ...]) -> Tensors:
    return {"matrices": draw.normal(*shape)}


def _run_newton_schulz(tensors: Tensors, *, backend: Backend, **options: Any) -> Tensors:
    return {"orthogonal": newton_schulz(tensors["matrices"], **options, backend=backend)}


def _newton_schulz(name: str, shape: tuple[int, ...], **options: Any) -> Case:
    return Case("newton_schulz", name, _matrix_inputs, _run_newton_schulz, {"shape": shape}, options)


def _level_inputs(draw: Draw, S: int, sizes: tuple[int, ...]) -> Tensors:
    tensors = {f"{kind}{i}": draw.normal(S, size) for i, size in enumerate(sizes) for kind in ("parameter", "gradient")}
    return tensors | {f"gathered{i}": torch.zeros(S, size, dtype=torch.float64) for i, size in enumerate(sizes)}


def _run_levels(tensors: Tensors, *, backend: Backend, steps: int, **options: Any) -> Tensors:
    parameters, gradients, gathered = (
        [[each] for name, each in tensors.items() if name.startswith(kind)] for kind in ("parameter", "gradient", "gathered")
    )
    for step in range(1, steps + 1):
        continuum_step(parameters, gradients, gathered, step=step, **options, backend=backend)
    return {name: each for name, each in tensors.items() if not name.startswith("gradient")}


def _levels(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    options = {"periods": (1, 2, 4), "rates": (0.1, 0.2, 0.3), "steps": 7, **options}
    return Case("continuum_step", name, _level_inputs, _run_levels, sizes, options, differentiable=False)


def _block_inputs(draw: Draw, S: int, N: int, D: int, H: int) -> Tensors:
    return {
        "x": draw.normal(S, N, D),
        "norm_weight": 1 + 0.1 * draw.normal(S, D),
        "norm_bias": 0.1 * draw.normal(S, D),
        "up_weight": draw.normal(S, H, D) * D**-0.5,
        "up_bias": 0.1 * draw.normal(S, H),
        "down_weight": draw.normal(S, D, H) * H**-0.5,
        "down_bias": 0.1 * draw.normal(S, D),
    }


def _run_block(tensors: Tensors, *, backend: Backend, **options: Any) -> Tensors:
    weights = BlockWeights(*(tensors[name] for name in BlockWeights._fields))
    return {"y": block_step(tensors["x"], weights, **options, backend=backend)}


def _block(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    return Case("block_step", name, _block_inputs, _run_block, sizes, options)


def _timed_mlp(name: str, seeds: int, batch: int, widths: tuple[int, ...]) -> Case:
    """One training step; its forward pass counts a third of the work."""
    case = _mlp(name, {"S": seeds, "B": batch, "widths": widths}, steps=1)
    products = sum(d_in * d_out for d_in, d_out in pairwise(widths))
    return replace(case, flops=2.0 * seeds * batch * (3 * products - widths[0] * widths[1]))


def _timed_chain(name: str, seeds: int, batch: int, widths: tuple[int, int, int, int]) -> Case:
    """One training step of three blocks."""
    K, D, H, V = widths
    case = _chain(name, {"S": seeds, "B": batch, "K": K, "D": D, "H": H, "V": V, "blocks": 3}, steps=1)
    return replace(case, flops=2.0 * seeds * batch * (2 * K * D + 3 * (6 * D * H + D * V)))


STEPS: Final = (
    _logits("mnist", {"S": 2, "B": 100, "widths": (784, 64, 64, 10)}),
    _product("ragged", {"S": 2, "B": 37, "V": 45, "D": 70}),
    _product("several-shares", {"S": 1, "B": 20, "V": 900, "D": 5}),
    _product("one-number", {"S": 2, "B": 1, "V": 1, "D": 1}),
    _product("no-rows", {"S": 2, "B": 0, "V": 20, "D": 9}),
    _product("large-and-tiny-numbers", {"S": 1, "B": 20, "V": 33, "D": 20}, edit=_large_and_tiny),
    _mlp("one-layer", {"S": 2, "B": 7, "widths": (5, 4)}),
    _mlp("digits", {"S": 3, "B": 32, "widths": (64, 128, 10)}),
    _mlp("momentum", {"S": 2, "B": 50, "widths": (20, 33, 17, 5), "momentum": True}, momentum=0.9),
    _mlp("mnist", {"S": 2, "B": 100, "widths": (784, 64, 64, 10)}),
    _chain("digits", {"S": 3, "B": 16, "K": 64, "D": 32, "H": 20, "V": 10, "blocks": 3}),
    _chain("no-embedding", {"S": 2, "B": 100, "D": 70, "H": 20, "V": 10, "blocks": 3}),
    _chain("two-phases", {"S": 2, "B": 100, "K": 300, "D": 64, "H": 48, "V": 10, "blocks": 2}, steps=1),
    _metric("ragged", {"S": 2, "L": 37, "D": 20, "V": 5}),
    _metric("many-rows", {"S": 2, "L": 30, "D": 130, "V": 10}),
    _metric("token-by-token", {"S": 1, "L": 6, "D": 9, "V": 4}, chunk=1),
    _metric("shorter-than-a-chunk", {"S": 2, "L": 5, "D": 16, "V": 3}),
    _metric("identical-keys", {"S": 1, "L": 32, "D": 24, "V": 3}, edit=_identical_metric_keys),
    _metric("zero-keys", {"S": 1, "L": 20, "D": 24, "V": 3}, edit=_zero_keys),
    _metric("weak-ridge", {"S": 1, "L": 64, "D": 32, "V": 3, "ridge": 0.01}, chunk=64),
    _metric("many-keys-weak-ridge", {"S": 1, "L": 300, "D": 16, "V": 5, "ridge": 1e-4}, dtypes=SINGLE),
    _protected("protected-step", {"S": 2, "B": 32, "D": 70, "V": 12}),
    _protected("protected-step-bounded", {"S": 2, "B": 8, "D": 150, "V": 12}, bound=0.5),
    _gather("keys", {"S": 2, "B": 20, "D": 33}),
    _gather("keys-of-a-large-metric", {"S": 1, "B": 20, "D": 513}),
    _read_out("read-out", {"S": 2, "B": 37, "D": 150, "V": 12}),
    _newton_schulz("wide", (3, 20, 33)),
    _newton_schulz("tall", (2, 40, 24)),
    _newton_schulz("cubic", (2, 2, 16, 16), coefficients=CUBIC, steps=10),
    _levels("mean", {"S": 2, "sizes": (50, 20000, 70)}),
    _levels("sum", {"S": 3, "sizes": (50, 200, 70)}, reduction="sum"),
    _block("gelu", {"S": 2, "N": 37, "D": 20, "H": 33}),
    _block("relu", {"S": 2, "N": 32, "D": 64, "H": 64}, activation="relu"),
    _block("silu-many-rows", {"S": 2, "N": 300, "D": 16, "H": 24}, activation="silu"),
    _block("one-row", {"S": 1, "N": 1, "D": 7, "H": 5}),
    _timed_mlp("10-seeds-digits", 10, 32, (64, 128, 10)),
    _timed_mlp("1-seed-mnist", 1, 128, (784, 256, 256, 10)),
    _timed_mlp("10-seeds-mnist", 10, 128, (784, 256, 256, 10)),
    replace(_logits("10-seeds-mnist", {"S": 10, "B": 500, "widths": (784, 256, 256, 10)}), flops=2.7e9),
    replace(
        _product("10-seeds-hope", {"S": 10, "B": 64, "V": 1000, "D": 785}), call=_run_answer, flops=10 * 64 * 2 * 785 * 1000.0
    ),
    replace(
        _product("5-seeds-hope", {"S": 5, "B": 128, "V": 1000, "D": 1001}),
        device="cuda",
        flops=5 * 128 * 2 * (5 * 1000 * 1001 + 128 * 1001.0),
    ),
    _timed_chain("5-seeds-digits", 5, 16, (64, 128, 64, 10)),
    _timed_chain("1-seed-mnist", 1, 128, (784, 256, 256, 10)),
    replace(_metric("5-seeds-d512", {"S": 5, "L": 64, "D": 512, "V": 10}), flops=5 * 64 * 3 * 512.0**2),
    replace(
        _protected("5-seeds-d512-step", {"S": 5, "B": 32, "D": 512, "V": 64}), flops=5 * (512.0**3 * 2 + 2 * 32 * 3 * 512**2)
    ),
    replace(_newton_schulz("8-of-128x256", (8, 128, 256)), flops=8 * 5 * (4 * 128.0**2 * 256 + 2 * 128**3)),
    replace(_levels("5-seeds-3-levels", {"S": 5, "sizes": (50_000,) * 3}, steps=4), bytes=4 * 4 * 4.0 * 5 * 150_000),
    replace(_block("5-seeds-d64", {"S": 5, "N": 32, "D": 64, "H": 128}), flops=5 * 4 * 32 * 64 * 128.0),
)
