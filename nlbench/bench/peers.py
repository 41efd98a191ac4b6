"""The nearest public kernels, where they are installed: what they do in the time of ours.

flash-linear-attention's delta rule has no retention; titans-pytorch's NeuralMemory has a two-layer memory with momentum, and
makes its own keys, values and rates. Neither computes what a case does: they show where the field stands at that case's size.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import torch

from nlbench.errors import NlbenchError
from nlbench.kernels.judging import Case, Tensors

PEERS: Final = {"memory_scan": ("fla", "flash-linear-attention"), "self_referential_scan": ("titans_pytorch", "titans-pytorch")}
"""By op: the module to import and the package that brings it."""


def check_peers(device: str) -> None:
    """Raise `NlbenchError` if no peer can run: none is installed, or the device is no GPU."""
    if device == "cpu":
        raise NlbenchError("--peers: the peers' kernels run on a GPU.", "Use --device cuda, or leave --peers out.")
    if not any(find_spec(module) for module, _ in PEERS.values()):
        packages = " ".join(package for _, package in PEERS.values())
        raise NlbenchError("--peers: no peer is installed.", f"Install one or both: pip install {packages}")


def peer_name(case: Case) -> str:
    """The installed package whose kernels are timed beside a case that only a GPU is timed on; empty where there is none."""
    module, package = PEERS.get(case.op, ("", ""))
    return package if case.device == "cuda" and module and find_spec(module) is not None else ""


def peer_run(case: Case, tensors: Tensors, direction: str) -> tuple[str, Callable[[], object]] | None:
    """The peer's name and what runs it at the size of the case; None where there is none."""
    name = peer_name(case)
    if not name:
        return None
    make = _delta_rule if case.op == "memory_scan" else _neural_memory
    return name, make(tensors, direction == "forward+backward")


def _delta_rule(tensors: Tensors, gradients: bool) -> Callable[[], object]:
    chunk_delta_rule = import_module("fla.ops.delta_rule").chunk_delta_rule
    # five memories of 64 rows are one of 320 to it too: (B, L, H, D) layout
    given = [
        tensors[name].transpose(1, 2).contiguous().requires_grad_(gradients) for name in ("queries", "keys", "targets", "rate")
    ]
    weights = torch.ones_like(given[2])

    def run() -> object:
        outputs, _ = chunk_delta_rule(*given, scale=1.0)
        return torch.autograd.grad(outputs, given, weights) if gradients else outputs

    return run


def _neural_memory(tensors: Tensors, gradients: bool) -> Callable[[], object]:
    S, H, L, d = tensors["inputs"].shape
    device = tensors["inputs"].device
    memory = import_module("titans_pytorch").NeuralMemory(dim=H * d, chunk_size=64, dim_head=d, heads=H).to(device)
    inputs = tensors["inputs"].float().transpose(1, 2).reshape(S, L, H * d).requires_grad_(gradients)
    leaves = [inputs, *memory.parameters()]

    def run() -> object:
        outputs, _ = memory(inputs)
        return torch.autograd.grad(outputs.sum(), leaves, allow_unused=True) if gradients else outputs

    return run
