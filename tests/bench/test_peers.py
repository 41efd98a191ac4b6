"""Peers run where they are installed and a GPU is there; one that cannot is named, and the others are timed."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from nlbench.bench import kernels, peers
from nlbench.errors import NlbenchError
from nlbench.kernels.cases import CASES
from nlbench.kernels.ridge_scan import ridge_scan

SCAN = replace(next(case for case in CASES if case.op == "memory_scan" and case.name == "given"), device="cuda")
RIDGE = replace(next(case for case in CASES if str(case) == "ridge_scan-8-programs-1024-d64"), device="cuda")


def test_the_cpu_and_a_machine_without_peers_are_told(monkeypatch):
    with pytest.raises(NlbenchError, match="run on a GPU"):
        peers.check_peers("cpu")
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(NlbenchError, match="no peer is installed") as caught:
        peers.check_peers("cuda")
    assert caught.value.hint == "Install one or both: pip install flash-linear-attention titans-pytorch"


@pytest.mark.parametrize(
    ("op", "device", "count"), [("memory_scan", "cuda", 3), ("memory_scan", "cpu", 0), ("mlp_step", "cuda", 0)]
)
def test_peers_stand_beside_the_ops_they_are_near_to_on_a_gpu(op, device, count, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda module: object())
    assert len(peers.peers_of(SimpleNamespace(op=op, device=device))) == count


def test_what_is_not_installed_is_no_peer(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    assert list(peers.peer_runs(SCAN, {}, "forward")) == []


@pytest.fixture
def stand_in(monkeypatch):
    """A package under the peer's name whose scans are ours: the delta rule runs, the gated one lacks, the mesa net refuses."""
    delta = ModuleType("fla.ops.delta_rule")
    delta.chunk_delta_rule = lambda q, k, v, rate, scale: (q * rate[..., None] * scale, None)
    mesa = ModuleType("fla.ops.mesa_net")

    def refuse(*given):
        raise AssertionError("only bfloat16\nand more")

    mesa.chunk_mesa_net = refuse
    empty = ModuleType("fla.ops.gated_delta_rule")
    for module in (ModuleType("fla"), ModuleType("fla.ops"), delta, mesa, empty):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "fla.ops.precond_gated_delta_rule", None)
    monkeypatch.setattr(peers, "find_spec", lambda module: object())


@pytest.mark.parametrize("direction", ["forward", "forward+backward"])
def test_one_that_cannot_is_named_and_the_rest_is_timed(direction, stand_in):
    runs = dict(peers.peer_runs(SCAN, SCAN.inputs(torch.float32), direction))
    assert callable(runs["fla delta rule"])
    assert runs["fla gated delta rule"].startswith("AttributeError: ")
    assert runs["fla preconditioned delta rule"].startswith("ModuleNotFoundError: ")


def test_what_was_measured_is_kept_where_a_peer_refuses(stand_in):
    turns = kernels.Turns("cpu", torch.float32, 3, 0.0, token_loop=False, peers=True)
    timings, refusals = kernels.time_case(SCAN, ["reference"], turns, kernels.Limits(1.0, 1.0, 1))
    assert [(each.implementation, each.direction) for each in timings] == [
        (name, direction) for direction in ("forward", "forward+backward") for name in ("reference", "fla delta rule")
    ]
    assert {(each.implementation, each.direction) for each in refusals} == {
        (f"fla {name}", direction)
        for name in ("gated delta rule", "preconditioned delta rule")
        for direction in ("forward", "forward+backward")
    }


def test_one_that_fails_while_it_is_timed_is_named_and_the_rest_is_timed(stand_in, monkeypatch):
    calls = []

    def tiring(q, k, v, rate, scale):
        calls.append(q)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("no memory is left\nand more")
        return (q * rate[..., None], None)

    monkeypatch.setattr(sys.modules["fla.ops.delta_rule"], "chunk_delta_rule", tiring)
    turns = kernels.Turns("cpu", torch.float32, 3, 0.0, token_loop=False, peers=True)
    timings, refusals = kernels.time_case(SCAN, ["reference"], turns, kernels.Limits(1.0, 1.0, 1))
    assert [(each.implementation, each.direction) for each in timings] == [
        ("reference", "forward"),
        ("reference", "forward+backward"),
        ("fla delta rule", "forward+backward"),
    ]
    assert [each.reason for each in refusals if each.implementation == "fla delta rule"] == [
        "OutOfMemoryError: no memory is left"
    ]


def small(**sizes: int):
    return replace(RIDGE, sizes={**RIDGE.sizes, "S": 2, "H": 2, "L": 20, "d": 8, **sizes}, options={"chunk": 8})


def test_one_that_computes_the_same_is_judged_against_float64(stand_in, monkeypatch):
    def mesa(q, k, v, log_retain, rate, ridge):
        assert torch.equal(log_retain, torch.zeros_like(rate))
        assert ridge.shape == (2, 8)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        zero = torch.zeros(2, 2, 8, 8)
        gates = rate.transpose(1, 2), log_retain.exp().transpose(1, 2)
        return (1.01 * ridge_scan(zero, zero, k, v, *gates, q, ridge[None, :, 0].expand(2, 2), chunk=8).outputs.transpose(1, 2),)

    monkeypatch.setattr(sys.modules["fla.ops.mesa_net"], "chunk_mesa_net", mesa)
    turns = kernels.Turns("cpu", torch.float32, 3, 0.0, token_loop=False, peers=True)
    timings, _ = kernels.time_case(small(), ["reference"], turns, kernels.Limits(1.0, 1.0, 1))
    errors = {(each.implementation, each.direction): each.error for each in timings}
    assert errors["fla mesa net", "forward"] == pytest.approx(0.01, rel=1e-3)
    assert errors["reference", "forward"] < 1e-5
    assert errors["fla mesa net", "forward+backward"] is None


@pytest.mark.parametrize(
    ("changed", "reason"), [({"d_v": 12}, "ValueError: values must be as wide"), ({}, "AssertionError: only bfloat16")]
)
def test_a_mesa_net_that_cannot_says_why(changed, reason, stand_in):
    case = small(**changed)
    runs = dict(peers.peer_runs(case, case.inputs(torch.float32), "forward"))
    assert runs["fla mesa net"].startswith(reason)
