from __future__ import annotations

import pytest
import torch
from small_networks import problem

from nlbench.errors import NlbenchError
from nlbench.learners.units import outgoing, readers, renew
from nlbench.networks.config import ConvolutionalConfig, MlpConfig, Resnet18Config
from nlbench.networks.convolutional import Convolutional
from nlbench.networks.mlp import Mlp
from nlbench.networks.resnet18 import Resnet18

TOLD = problem((1, 8, 8))


def test_layers_are_read_in_their_order_and_the_last_by_the_head() -> None:
    mlp = Mlp(MlpConfig(kind="mlp", hidden=(6, 5)), TOLD)
    assert readers(mlp, *mlp.initial(TOLD.seeds), TOLD, "it") == {"layer0": "layer1", "layer1": "head"}
    network = Convolutional(ConvolutionalConfig(kind="convolutional", channels=(3, 4)), TOLD)
    found = readers(network, *network.initial(TOLD.seeds), TOLD, "it")
    assert found == {"convolution0": "convolution1", "convolution1": "head"}


def test_layers_that_go_around_each_other_are_refused() -> None:
    network = Resnet18(Resnet18Config(kind="resnet18", width=2), TOLD)
    parameters, state = network.initial(TOLD.seeds)
    with pytest.raises(NlbenchError, match="it needs layers that are a chain, and those of network 'resnet18' are not"):
        readers(network, parameters, state, TOLD, "it")


def test_a_filter_is_read_at_every_place_it_is_flattened_to_and_by_every_head() -> None:
    tree = {
        "head.1.weight": torch.arange(24.0).view(1, 2, 12),
        "head.2.weight": torch.ones(1, 2, 12),
        "head.1.bias": torch.ones(1, 2),
    }
    one, other = outgoing(tree, "head", 3)
    assert one.shape == other.shape == (1, 2, 3, 4)
    assert one[0, 0, 1].tolist() == [4, 5, 6, 7]
    one[:, :, 1] = 0.0
    assert not tree["head.1.weight"][0, :, 4:8].any()


def test_a_renewed_unit_is_new_at_one_end_and_silent_at_the_other() -> None:
    tree = {
        "a.weight": torch.ones(2, 3, 1, 2, 2),
        "a.bias": torch.ones(2, 3),
        "b.weight": torch.ones(2, 4, 3, 2, 2),
        "b.bias": torch.ones(2, 4),
    }
    unit = torch.tensor([0, 2])
    renew(tree, "a", "b", unit, torch.arange(10.0).view(2, 5))
    assert tree["a.weight"][0, 0].flatten().tolist() == [0, 1, 2, 3]
    assert tree["a.weight"][1, 2].flatten().tolist() == [5, 6, 7, 8]
    assert tree["a.bias"].tolist() == [[4, 1, 1], [1, 1, 9]]
    assert [tree["b.weight"][s, :, u].any().item() for s, u in ((0, 0), (0, 1), (1, 2), (1, 0))] == [False, True, False, True]
    assert tree["a.weight"][0, 1:].eq(1).all()
