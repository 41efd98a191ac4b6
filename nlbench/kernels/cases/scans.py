"""The scans over tokens: inputs of every op that learns token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from nlbench.kernels.backends import Backend
from nlbench.kernels.judging import Case, Draw, Edit, Tensors
from nlbench.kernels.memory_scan import memory_scan
from nlbench.kernels.ridge_scan import ridge_scan
from nlbench.kernels.self_referential_scan import Memories, self_referential_scan


def _scan_inputs(draw: Draw, S: int, H: int, L: int, d: int, d_v: int = 0, extras: tuple[str, ...] = ()) -> Tensors:
    tokens, d_v = (S, H, L), d_v or d
    tensors = {
        "memory": 0.3 * draw.normal(S, H, d_v, d),
        "keys": draw.unit(*tokens, d),
        "targets": draw.normal(*tokens, d_v),
        "rate": draw.uniform(0.05, 0.95, *tokens),
        "retain": draw.uniform(0.8, 1.0, *tokens),
        "queries": draw.unit(*tokens, d),
    }
    if "momentum" in extras:
        tensors |= {"momentum": draw.uniform(0.4, 0.9, *tokens), "velocity": 0.1 * draw.normal(S, H, d_v, d)}
    if "values" in extras:
        tensors["values"] = draw.unit(*tokens, d)
    if "initial" in extras:
        tensors["initial"] = 0.3 * draw.normal(S, H, d_v, d)
    return tensors


def _run_scan(tensors: Tensors, *, backend: Backend, **options: Any) -> Tensors:
    found = memory_scan(**tensors, **options, backend=backend)  # type: ignore[arg-type]
    return {name: each for name, each in found._asdict().items() if each is not None}


def _edge_gates(tensors: Tensors) -> None:
    tensors["retain"][..., 3], tensors["retain"][..., 7], tensors["retain"][..., 9] = 1e-30, 1.0, 0.0
    tensors["rate"][..., 5], tensors["rate"][..., 6] = 0.0, 1.0


def _keep_everything(tensors: Tensors) -> None:
    tensors["retain"].fill_(1.0)


def _identical_keys(tensors: Tensors) -> None:
    tensors["keys"][:] = tensors["keys"][..., :1, :].clone()
    tensors["rate"].clamp_max_(0.5)


def _same_keys(tensors: Tensors) -> None:
    tensors["keys"][:] = tensors["keys"][..., :1, :].clone()


def _zero_keys(tensors: Tensors) -> None:
    tensors["keys"].zero_()


def _scan(name: str, *, edit: Edit | None = None, chunk: int = 16, sizes: Mapping[str, Any], **options: Any) -> Case:
    return Case(
        "memory_scan", name, _scan_inputs, _run_scan, sizes, {"chunk": chunk, "residual": "minus_prediction", **options}, edit
    )


_SMALL: Final = {"S": 2, "H": 2, "L": 50, "d": 20, "d_v": 12}
_MOMENTUM: Final = {**_SMALL, "extras": ("momentum",)}
_OWN: Final = {**_SMALL, "extras": ("values",)}
_LONG_OWN: Final = {"S": 1, "H": 1, "L": 90, "d": 40, "extras": ("values", "momentum")}
_HOME: Final = {**_SMALL, "extras": ("initial",)}


def _ridge_inputs(draw: Draw, S: int, H: int, L: int, d: int, d_v: int = 0, least: float = 0.8, own: bool = True) -> Tensors:
    """With `own`, a gram and a memory of three tokens before the first."""
    tokens, d_v = (S, H, L), d_v or d
    earlier, read = draw.unit(S, H, 3, d), draw.normal(S, H, 3, d_v)
    return {
        "gram": own * (earlier.mT @ earlier),
        "memory": own * (read.mT @ earlier),
        "keys": draw.unit(*tokens, d),
        "targets": draw.normal(*tokens, d_v),
        "rate": draw.uniform(0.05, 0.95, *tokens),
        "retain": draw.uniform(least, 1.0, *tokens),
        "queries": draw.unit(*tokens, d),
        "ridge": draw.uniform(0.5, 1.5, S, H),
    }


def _run_ridge(tensors: Tensors, *, backend: Backend, chunk: int) -> Tensors:
    return ridge_scan(**tensors, chunk=chunk, backend=backend)._asdict()


def _unwritten(tensors: Tensors) -> None:
    tensors["rate"][..., 2:5] = 0.0


def _whole_ridge(tensors: Tensors) -> None:
    """Everything kept, and a ridge of 1: where conjugate gradients of the same regression can be judged beside it."""
    tensors["retain"].fill_(1.0)
    tensors["ridge"].fill_(1.0)


def _ridge(name: str, *, edit: Edit | None = None, chunk: int = 16, **sizes: Any) -> Case:
    return Case("ridge_scan", name, _ridge_inputs, _run_ridge, sizes, {"chunk": chunk}, edit)


def _timed_ridge(name: str, S: int, H: int, L: int, device: str) -> Case:
    d, chunk = 64, 64
    case = _ridge(name, edit=_whole_ridge, chunk=chunk, S=S, H=H, L=L, d=d, own=False)
    chunks = S * H * L / chunk
    flops = chunks * 2.0 * (chunk * d * d * 6 + chunk * chunk * d * 4 + (d**3 + chunk**3) / 3)
    return replace(case, flops=flops, bytes=chunks * (2.0 * chunk * 4 * d + 8.0 * d * d), device=device)


def _self_inputs(draw: Draw, S: int, H: int, L: int, d: int, to_initial: bool = True) -> Tensors:
    tensors = {"inputs": draw.normal(S, H, L, d), "queries": draw.unit(S, H, L, d)}
    tensors |= {"rate_bias": draw.normal(S, H) - 2, "retain_bias": draw.normal(S, H) + 4}
    for prefix in ("", "initial.") if to_initial else ("",):
        for name in Memories._fields:
            shape = (S, H, d) if name in ("rate", "retain") else (S, H, d, d)
            tensors[prefix + name] = 0.2 * d**-0.5 * draw.normal(*shape)
    return tensors


def _run_self(tensors: Tensors, *, backend: Backend, **options: Any) -> Tensors:
    memories = Memories(*(tensors[name] for name in Memories._fields))
    home = Memories(*(tensors[f"initial.{name}"] for name in Memories._fields)) if "initial.keys" in tensors else None
    given = (tensors["inputs"], tensors["queries"], memories, tensors["rate_bias"], tensors["retain_bias"])
    states, outputs = self_referential_scan(*given, initial=home, **options, backend=backend)
    return {**states._asdict(), "outputs": outputs}


def _self(name: str, sizes: Mapping[str, Any], **options: Any) -> Case:
    options = {"chunk": 8, "outer_chunk": 16, "rate_max": 1 / 16, **options}
    limited = bool(options.keys() & {"target_clip", "truncation"})
    return Case("self_referential_scan", name, _self_inputs, _run_self, sizes, options, refused_by=("triton",) if limited else ())


def _timed_scan(d: int, chunk: int) -> Case:
    """8 programs of 4096 tokens; the work is that of the chunked form."""
    sizes = {"S": 2, "H": 4, "L": 4096, "d": d}
    case = _scan(f"8-programs-d{d}-chunk{chunk}", sizes=sizes, chunk=chunk)
    return replace(case, flops=8 * 4096 * (4.0 * chunk * d + 2 * chunk**2 / 3 + 6 * d * d))


def _gpu_scan(name: str, heads: int, d_v: int) -> Case:
    """4 sequences of 4096 tokens with given targets, read token by token; work and traffic of the chunked form in bfloat16."""
    d, chunk = 64, 64
    sizes = {"S": 4, "H": heads, "L": 4096, "d": d, "d_v": d_v}
    case = _scan(name, sizes=sizes, chunk=chunk, residual="given", read="exact")
    chunks = 4 * heads * 4096 / chunk
    flops = chunks * (2.0 * chunk**2 * (d + d_v) + 2 * chunk**3 / 3 + 8 * chunk * d * d_v)
    return replace(case, flops=flops, bytes=chunks * (2.0 * chunk * (2 * d + 2 * d_v) + 8 * chunk + 2 * d * d_v), device="cuda")


def _gpu_self() -> Case:
    """16 sequences of 4096 tokens, 256 wide: 64 programs of one clock."""
    d, tokens = 64, 64 * 4096
    case = _self("64-programs-4096-d64", {"S": 16, "H": 4, "L": 4096, "d": d}, chunk=64, outer_chunk=64)
    return replace(case, flops=tokens * (18.0 * d * d + 6 * d * 64 + 2 * 64**2 / 3), bytes=tokens * 10.0 * d, device="cuda")


def _timed_self(heads: int, d: int) -> Case:
    """4 rows of 256 tokens, with the five memories of every head; the work is that of one solve for all."""
    case = _self(f"4x256-{heads}-heads-d{d}", {"S": 4, "H": heads, "L": 256, "d": d}, chunk=16, outer_chunk=16)
    rows = 3 * d + 2
    return replace(case, flops=4 * 256 * heads * (2.0 * 16 * (d + rows) + 2 * 16**2 / 3 + 2 * d * (3 * rows + 3 * d)))


SCANS: Final = (
    _scan("given", sizes=_SMALL, residual="given"),
    _scan("l2", sizes=_SMALL),
    _scan("l2-exact-read", sizes=_SMALL, read="exact"),
    _scan("own-targets", sizes=_OWN, residual="self_generated"),
    _scan("own-targets-exact-read", sizes=_OWN, residual="self_generated", read="exact"),
    _scan("to-initial", sizes=_HOME),
    _scan("momentum", sizes=_MOMENTUM),
    _scan("momentum-exact-read", sizes=_MOMENTUM, read="exact"),
    _scan("edge-gates", sizes=_SMALL, edit=_edge_gates),
    _scan("edge-gates-momentum", sizes=_MOMENTUM, edit=_edge_gates, read="exact"),
    _scan("keep-everything", sizes=_SMALL, edit=_keep_everything, residual="given"),
    _scan("identical-keys", sizes=_SMALL, edit=_identical_keys, residual="given", read="exact"),
    _scan("zero-keys", sizes=_SMALL, edit=_zero_keys),
    _scan("shorter-than-a-chunk", sizes={**_SMALL, "L": 11}),
    _scan("token-by-token", sizes={**_SMALL, "L": 12}, chunk=1, read="exact"),
    _scan("chunk-of-several-tiles", sizes={"S": 1, "H": 2, "L": 170, "d": 12}, chunk=100, read="exact"),
    _scan("chunk-of-several-tiles-own", sizes=_LONG_OWN, chunk=80, residual="self_generated"),
    _scan("d16", sizes={"S": 1, "H": 4, "L": 64, "d": 16}),
    _scan("d64", sizes={"S": 1, "H": 2, "L": 128, "d": 64}, chunk=64),
    _scan("d128", sizes={"S": 1, "H": 1, "L": 100, "d": 128}, chunk=64, read="exact"),
    _ridge("ragged-chunks", S=2, H=2, L=50, d=20, d_v=12),
    _ridge("shorter-than-a-chunk", S=2, H=1, L=5, d=9),
    _ridge("token-by-token", S=1, H=2, L=12, d=10, chunk=1),
    _ridge("no-loss", S=1, H=2, L=40, d=16, edit=_keep_everything),
    _ridge("unwritten", S=1, H=2, L=30, d=12, edit=_unwritten),
    _ridge("identical-keys", S=1, H=1, L=40, d=16, edit=_same_keys),
    _ridge("d64", S=1, H=2, L=130, d=64, chunk=64, least=0.98),
    _ridge("fading", S=1, H=2, L=130, d=64, chunk=64, least=0.9),
    _self("two-clocks", {"S": 2, "H": 2, "L": 40, "d": 12}),
    _self("two-clocks-exact-read", {"S": 2, "H": 2, "L": 40, "d": 12}, read="exact"),
    _self("one-clock", {"S": 2, "H": 2, "L": 40, "d": 12}, chunk=16),
    _self("two-rates", {"S": 2, "H": 1, "L": 40, "d": 12}, chunk=16, outer_rate_max=1 / 64),
    _self("to-zero", {"S": 2, "H": 2, "L": 40, "d": 12, "to_initial": False}, retain_min=0.5),
    _self("clipped", {"S": 2, "H": 2, "L": 40, "d": 12}, chunk=16, target_clip=1.0),
    _self(
        "clipped-dot-to-zero", {"S": 1, "H": 2, "L": 21, "d": 12, "to_initial": False}, chunk=16, objective="dot", target_clip=0.9
    ),
    _self("truncated", {"S": 1, "H": 2, "L": 70, "d": 12}, chunk=16, target_clip=1.0, truncation=2),
    _self("truncated-many-segments", {"S": 1, "H": 2, "L": 75, "d": 12}, outer_chunk=8, truncation=3),
    _self("clipped-many-segments", {"S": 1, "H": 2, "L": 75, "d": 12}, outer_chunk=8, target_clip=0.9, truncation=5),
    _self("dot", {"S": 2, "H": 2, "L": 40, "d": 12}, objective="dot", read="exact"),
    _self("free-values", {"S": 1, "H": 2, "L": 21, "d": 12}, normalize_values=False),
    _self("ragged-segments-of-32", {"S": 1, "H": 2, "L": 70, "d": 20}, outer_chunk=32),
    _self("shorter-than-a-chunk", {"S": 2, "H": 2, "L": 5, "d": 16}),
    _self("token-by-token", {"S": 1, "H": 2, "L": 9, "d": 16}, chunk=1, outer_chunk=1),
    _self("d64", {"S": 1, "H": 1, "L": 64, "d": 64}, chunk=16, outer_chunk=64),
    _self("d64-one-clock", {"S": 1, "H": 2, "L": 150, "d": 64}, chunk=64, outer_chunk=64),
    *(_timed_scan(d, chunk) for d in (16, 32, 64) for chunk in (16, 64)),
    _gpu_scan("64-programs-4096-d64", heads=16, d_v=64),
    _gpu_scan("16-programs-4096-five-memories", heads=4, d_v=320),
    _gpu_self(),
    _timed_ridge("8-programs-1024-d64", 2, 4, 1024, "cpu"),
    _timed_ridge("64-programs-4096-d64", 4, 16, 4096, "cuda"),
    _timed_self(heads=4, d=16),
    _timed_self(heads=1, d=64),
)
