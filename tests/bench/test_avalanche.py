"""Avalanche's programs do the work of the commands that they are timed beside."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from small_streams import made_mnist

from nlbench.bench import avalanche
from nlbench.plan import resolve
from nlbench.sources import idx


@pytest.mark.parametrize("model", avalanche.STRATEGIES)
def test_the_command_beside_it_has_the_same_network_batches_passes_and_places(model: str) -> None:
    plan = resolve(model, "split-mnist", seeds=(0,))
    config: Any = plan.learner.learner
    assert list((config if model == "mlp" else config.network).hidden) == [256, 256]
    assert (plan.batch, plan.stream.protocol.passes) == (avalanche.BATCH, 1)
    settings = avalanche.STRATEGIES[model][1]
    assert getattr(config, "capacity", None) == (settings.get("mem_size") or (500 if model == "a-gem" else None))
    assert settings.get("patterns_per_exp", 100) * 5 == 500  # of as many tasks


@pytest.mark.skipif(find_spec("avalanche") is None, reason="needs Avalanche")
@pytest.mark.parametrize("model", avalanche.STRATEGIES)
def test_a_strategy_learns(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_mnist(tmp_path, side=28, n_train=320)
    avalanche.main(model, str(tmp_path / idx.MNIST.folder))
    assert 0.05 < json.loads(capsys.readouterr().out.splitlines()[-1])["average_accuracy"] <= 1
