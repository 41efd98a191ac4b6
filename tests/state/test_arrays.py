"""Arrays that show one memory are told from those that do not, and those that a tensor shows from both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlbench.state.arrays import Placed, Shown, in_rows, owner


def shown(*arrays: np.ndarray, tensors: tuple[torch.Tensor, ...] = ()) -> tuple[list[object], list[int]]:
    """Return the places of arrays, and which of them something else shows."""
    walk, nodes = Shown(), [[number, None] for number in range(len(arrays))]
    for array, node in zip(arrays, nodes, strict=True):
        walk.take(array, node)
    walk.place()
    return [node[-1] for node in nodes], sorted(node[0] for node in walk.beside(tensors))


def test_arrays_apart_have_no_place():
    assert shown(np.zeros(3), np.zeros(3), np.zeros(0)) == ([None] * 3, [])


def test_views_of_one_array_have_places_in_it():
    whole = np.arange(6.0)
    places, beside = shown(whole[2:], whole[:2], np.zeros(1), whole[::-1])
    assert places == [[0, 16, [8], 48], [0, 0, [8], 48], None, [0, 40, [-8], 48]]
    assert beside == []
    assert owner(whole[1:].reshape(5, 1)[1:]) is whole


def test_what_a_tensor_or_another_owner_shows_is_found_wherever_it_begins():
    whole = np.arange(6.0)
    tensor = torch.from_numpy(whole[2:4])
    assert shown(np.zeros(2), whole, whole[:1], tensors=(tensor, torch.zeros(3))) == (
        [None, [1, 0, [8], 48], [1, 0, [8], 48]],
        [1, 2],
    )
    text = bytearray(16)
    assert shown(np.frombuffer(text, "f8"), np.frombuffer(text, "u1"), np.zeros(1))[1] == [0, 1]
    long, parts = torch.zeros(8), [torch.zeros(8).numpy() for _ in range(3)]
    assert shown(*parts, long.numpy()[1:2], tensors=(long,))[1] == [3]


def test_axes_stand_from_the_widest_step_to_the_narrowest():
    assert in_rows(np.zeros((2, 3, 4)).transpose(2, 0, 1)) == [1, 2, 0]
    assert in_rows(np.zeros((3, 2)).T[:1]) == [0, 1] == in_rows(np.zeros((0, 2)))
    assert in_rows(np.zeros(3)[::-1]) == [0]


def test_an_array_is_written_in_place_once_and_where_its_form_is_the_same():
    own, placed = np.zeros((2, 3)), Placed()
    assert placed.put(own, np.ones((2, 3)), None) is own
    assert placed.put(own[:], other := np.full((2, 3), 2.0), None) is other
    for unlike in (np.ones((3, 2)), np.ones((2, 3), "f4"), np.asfortranarray(np.ones((2, 3)))):
        assert Placed().put(own, unlike, None) is unlike
    assert own.tolist() == [[1.0] * 3] * 2


def test_what_lies_outside_the_memory_it_names_is_refused():
    for place in ([0, 8, [8], 16], [0, -8, [8], 16], [0, 0, [8], 10**18]):
        with pytest.raises((ValueError, TypeError)):
            Placed().put(None, np.ones(2), place)
