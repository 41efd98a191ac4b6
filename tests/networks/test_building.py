from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_networks import problem

from nlbench import catalog
from nlbench.errors import NlbenchError
from nlbench.networks.building import build
from nlbench.networks.module import Module
from nlbench.specs import ExternalConfig

OWN = """
from torch import nn
from nlbench.networks.network import Network
from nlbench.specs import Closed

class Own(Network):
    class Config(Closed):
        width: int = 3
    def __init__(self, config, problem):
        self.width = config.width

def module(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))

number = 3
"""


@pytest.mark.parametrize("kind", [kind for kind in catalog.NETWORKS if kind != "module"])
def test_every_row_is_a_network_that_starts_and_runs(kind: str) -> None:
    facts = replace(problem((1, 8, 8), (3, 5)), n_classes=2)  # as many as a valley has sides
    network = build(catalog.config("networks", kind)(kind=kind), facts)
    parameters, state = network.initial(facts.seeds)
    assert all(len(value) == 2 for value in (*parameters.values(), *state.values()))


def test_somebody_elses_network_gets_its_own_config_and_a_function_makes_a_module(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert build(ExternalConfig(kind=f"{file}:Own", options={"width": 8}), problem()).width == 8
    assert isinstance(build(ExternalConfig(kind=f"{file}:module"), problem()), Module)
    with pytest.raises(NlbenchError, match="width: must be a valid integer, got 'a'"):
        build(ExternalConfig(kind=f"{file}:Own", options={"width": "a"}), problem())
    with pytest.raises(NlbenchError, match="must be a network, or what makes a torch"):
        build(ExternalConfig(kind=f"{file}:number"), problem())
