"""The nearest public kernels, where they are installed: what they do in the time of ours.

They show where the field stands at a case's size, in the same process. One computes what the case does, and is judged against
float64 too; the others are its neighbours. All are of flash-linear-attention but the last, of titans-pytorch:

delta rule                 writes the error of a key's value; nothing is retained less with time (Yang et al. 2024)
gated delta rule           the same with the case's retention (Yang, Kautz and Hatamizadeh 2024)
preconditioned delta rule  the gated one in the metric of a diagonal of the keys seen
mesa net                   what `ridge_scan` computes, by 30 steps of conjugate gradients a token (von Oswald et al. 2025)
neural memory              two layers with momentum, which make their own keys, values and rates (Behrouz et al. 2024)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import torch

from nlbench.errors import NlbenchError
from nlbench.kernels.judging import Case, Tensors

Run = Callable[[], object]

REFUSALS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a package of others may answer with where it cannot: a dtype it does not take, a shape, a compiler too old."""


class PeerError(Exception):
    """A peer that ran once and then could not."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True)
class Peer:
    """A public kernel near to one of our ops: what is imported of which package, and how it is run at a case's size.

    make   the case's tensors and whether gradients are wanted -> what runs it once; its outputs are (S, L, H, d_v)
    same   whether its outputs are those of the case
    """

    name: str
    op: str
    package: str
    module: str
    make: Callable[[Tensors, bool], Run]
    same: bool = False

    @property
    def installed(self) -> bool:
        return find_spec(self.module.split(".")[0]) is not None


def check_peers(device: str) -> None:
    """Raise `NlbenchError` if no peer can run: none is installed, or the device is no GPU."""
    if device == "cpu":
        raise NlbenchError("--peers: the peers' kernels run on a GPU.", "Use --device cuda, or leave --peers out.")
    if not any(peer.installed for peer in PEERS):
        packages = " ".join(dict.fromkeys(peer.package for peer in PEERS))
        raise NlbenchError("--peers: no peer is installed.", f"Install one or both: pip install {packages}")


def peers_of(case: Case) -> tuple[Peer, ...]:
    """The installed peers that are timed beside a case: only one that a GPU alone is timed on has any."""
    return tuple(peer for peer in PEERS if peer.op == case.op and peer.installed) if case.device == "cuda" else ()


def peer_runs(case: Case, tensors: Tensors, direction: str) -> Iterator[tuple[str, Run | str]]:
    """Each peer's name and what runs it at the size of the case, run once to its end; where it cannot, its reason in one line.

    What runs it raises `PeerError` where it cannot any longer.
    """
    for peer in peers_of(case):
        try:
            run = peer.make(tensors, direction == "forward+backward")
            run()
            if next(iter(tensors.values())).is_cuda:
                torch.cuda.synchronize()  # what a kernel did wrong is told only then
            yield peer.name, partial(_run_again, peer.name, run)
        except REFUSALS as error:
            yield peer.name, _reason(error)


def _run_again(name: str, run: Run) -> object:
    try:
        return run()
    except REFUSALS as error:
        raise PeerError(name, _reason(error)) from error


def _reason(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else 'no reason given'}"


def _tokens_first(tensors: Tensors, names: str, gradients: bool) -> list[torch.Tensor]:
    """Tensors of (S, H, L, …) as these packages lay them out, (S, L, H, …): leaves, if gradients are wanted."""
    return [tensors[name].detach().transpose(1, 2).contiguous().requires_grad_(gradients) for name in names.split()]


def _called(scan: Callable[..., tuple[torch.Tensor, ...]], leaves: list[torch.Tensor], gradients: bool, **options: object) -> Run:
    """Run a scan of these leaves, given in its order or by name; with gradients, of the sum of its outputs by each leaf."""

    def run() -> object:
        outputs = scan(*leaves, **options)[0]
        return torch.autograd.grad(outputs, leaves, torch.ones_like(outputs), allow_unused=True) if gradients else outputs

    return run


def _delta_rule(tensors: Tensors, gradients: bool) -> Run:
    scan = import_module("fla.ops.delta_rule").chunk_delta_rule
    return _called(scan, _tokens_first(tensors, "queries keys targets rate", gradients), gradients, scale=1.0)


def _gated_delta_rule(tensors: Tensors, gradients: bool) -> Run:
    scan = import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule
    leaves = _tokens_first(tensors, "queries keys targets", gradients)
    return _called(scan, [*leaves, *_gates(tensors, gradients)], gradients, scale=1.0)


def _preconditioned_delta_rule(tensors: Tensors, gradients: bool) -> Run:
    scan = import_module("fla.ops.precond_gated_delta_rule").chunk_precond_gated_delta_rule
    queries, keys, targets = _tokens_first(tensors, "queries keys targets", gradients)
    (own_retain, own_rate), (retain, rate) = (_gates(tensors, gradients) for _ in range(2))
    leaves = [queries, keys, targets, own_retain, retain, own_rate, rate]
    return _called(scan, leaves, gradients, scale=1.0, use_qk_l2norm_in_kernel=False)


def _mesa_net(tensors: Tensors, gradients: bool) -> Run:
    scan = import_module("fla.ops.mesa_net").chunk_mesa_net
    queries, keys, targets = _tokens_first(tensors, "queries keys targets", gradients)
    width = keys.shape[-1]
    if targets.shape[-1] != width or not bool((tensors["ridge"] == tensors["ridge"][:1]).all()):
        raise ValueError("values must be as wide as keys, and the ridge that of every sequence")
    ridge = tensors["ridge"][0, :, None].float().repeat(1, width).requires_grad_(gradients)
    return _called(scan, [queries, keys, targets, *_gates(tensors, gradients), ridge], gradients)


def _gates(tensors: Tensors, gradients: bool) -> list[torch.Tensor]:
    """The logarithms of the retentions and the rates, in float32 as these kernels ask for."""
    retain, rate = (tensors[name].detach().float().transpose(1, 2).contiguous() for name in ("retain", "rate"))
    return [retain.log().requires_grad_(gradients), rate.requires_grad_(gradients)]


def _neural_memory(tensors: Tensors, gradients: bool) -> Run:
    S, H, L, d = tensors["inputs"].shape
    device = tensors["inputs"].device
    memory = import_module("titans_pytorch").NeuralMemory(dim=H * d, chunk_size=64, dim_head=d, heads=H).to(device)
    inputs = tensors["inputs"].detach().float().transpose(1, 2).reshape(S, L, H * d).requires_grad_(gradients)
    leaves = [inputs, *memory.parameters()]

    def run() -> object:
        outputs, _ = memory(inputs)
        return torch.autograd.grad(outputs.sum(), leaves, allow_unused=True) if gradients else outputs

    return run


_FLA: Final = "flash-linear-attention"
PEERS: Final = (
    Peer("fla delta rule", "memory_scan", _FLA, "fla", _delta_rule),
    Peer("fla gated delta rule", "memory_scan", _FLA, "fla", _gated_delta_rule),
    Peer("fla preconditioned delta rule", "memory_scan", _FLA, "fla", _preconditioned_delta_rule),
    Peer("fla preconditioned delta rule", "ridge_scan", _FLA, "fla", _preconditioned_delta_rule),
    Peer("fla mesa net", "ridge_scan", _FLA, "fla", _mesa_net, same=True),
    Peer("titans-pytorch neural memory (float32)", "self_referential_scan", "titans-pytorch", "titans_pytorch", _neural_memory),
)
