"""Peers run where they are installed and a GPU is there; otherwise the remedy is named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nlbench.bench import peers
from nlbench.errors import NlbenchError


def test_the_cpu_and_a_machine_without_peers_are_told(monkeypatch):
    with pytest.raises(NlbenchError, match="run on a GPU"):
        peers.check_peers("cpu")
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(NlbenchError, match="no peer is installed") as caught:
        peers.check_peers("cuda")
    assert "flash-linear-attention" in caught.value.hint
    assert "titans-pytorch" in caught.value.hint


@pytest.mark.parametrize(
    ("op", "device", "name"),
    [("memory_scan", "cuda", "flash-linear-attention"), ("memory_scan", "cpu", ""), ("mlp_step", "cuda", "")],
)
def test_a_peer_stands_beside_the_ops_it_is_near_to_on_a_gpu(op, device, name, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda module: object())
    assert peers.peer_name(SimpleNamespace(op=op, device=device)) == name


def test_what_is_not_installed_is_no_peer(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    assert peers.peer_run(SimpleNamespace(op="memory_scan", device="cuda"), {}, "forward") is None
