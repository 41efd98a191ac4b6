"""A tensor is written in place only where nothing else stands, and what shared its memory shares it again."""

from __future__ import annotations

import torch
from torch import nn

from nlbench.state.storages import Storages


def node(key, storage, view=None, kind="tensor"):
    return [kind, key, False, storage, "cpu", None, view, {}, 0]


def test_a_tensor_of_the_same_form_is_written_in_place_once():
    saved = torch.arange(6.0).reshape(2, 3)
    storages = Storages([])
    own = torch.zeros(2, 3)
    assert storages.fits(own, torch.Tensor, saved, 0, None)
    assert not storages.fits(own, torch.Tensor, saved, 1, None), "it stands for storage 0 already"


def test_another_form_or_kind_does_not_fit():
    saved = torch.zeros(2, 3)
    for own in (torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.float64), nn.Parameter(torch.zeros(2, 3)), None):
        assert not Storages([]).fits(own, torch.Tensor, saved, 0, None)


def test_a_tensor_whose_numbers_lie_on_one_another_does_not_fit():
    assert not Storages([]).fits(torch.zeros(1).expand(2), torch.Tensor, torch.zeros(2), 0, None)


def test_views_of_one_memory_are_views_of_one_again():
    whole = torch.arange(10.0)
    saved = {"left": whole[:6], "right": whole[4:]}
    places = {"left": [0, [1], [6]], "right": [4, [1], [6]]}
    storages = Storages([node(key, 7, places[key]) for key in saved])
    left, right = (storages.made(saved[key], "cpu", 7, places[key]) for key in saved)
    assert left.tolist() == whole[:6].tolist()
    right[0] = -1
    assert left[4] == -1


def test_a_view_at_another_place_of_its_memory_does_not_fit():
    saved = {"left": torch.zeros(4), "right": torch.zeros(4)}
    own = torch.ones(8)
    nodes = [node("left", 3, [0, [1], [4]]), node("right", 3, [4, [1], [4]])]
    storages = Storages(nodes)
    assert storages.fits(own[:4], torch.Tensor, saved["left"], 3, [0, [1], [4]])
    assert storages.fits(own[4:], torch.Tensor, saved["right"], 3, [4, [1], [4]])
    storages = Storages(nodes)
    assert storages.fits(own[:4], torch.Tensor, saved["left"], 3, [0, [1], [4]])
    assert not storages.fits(own[2:6], torch.Tensor, saved["right"], 3, [4, [1], [4]])


def test_what_lies_outside_the_memory_it_names_gets_its_own():
    saved = {"one": torch.ones(2)}
    storages = Storages([node("one", 0, [0, [1], [2]])])
    storages.made(saved["one"], "cpu", 0, [0, [1], [2]])
    stray = storages.made(torch.full((2,), 2.0), "cpu", 0, [5, [1], [2]])
    assert stray.tolist() == [2, 2]
