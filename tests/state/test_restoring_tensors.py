"""Tensors and arrays come back as they lay in memory, and what shared one memory shares one again."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
import torch
from held_values import holder, same_again, saved
from torch import nn

from nlbench.state import UnlikeError, collect, first_difference, obstacles, restore


def test_views_of_one_storage_are_told_from_copies():
    flat = torch.zeros(4)
    viewed = holder(a=flat[:2], b=flat[2:])
    apart = holder(a=torch.ones(2), b=torch.ones(2))
    restore(viewed, saved(apart))
    assert viewed.a.untyped_storage()._cdata != viewed.b.untyped_storage()._cdata
    flat = torch.zeros(4)
    whole = holder(a=flat[:2], b=flat[2:])
    restore(apart, state := saved(whole))
    assert first_difference(state, collect(apart)) is not None  # a checkpoint's proof sees it


def test_rows_of_a_batch_are_still_rows_of_one():
    """Samples as they are often stored: views of the batch they came in."""
    batches = torch.arange(24.0).reshape(2, 4, 3)
    later = holder(samples=[row for batch in batches for row in batch[1:3]], last=batches[1])
    later.lists = [[[1]] * 7, [batches[0][0]]]
    fresh = holder(samples=[], last=None)
    restore(fresh, state := saved(later))
    assert first_difference(state, collect(fresh)) is None
    later.samples[2][0] = fresh.samples[2][0] = -1.0
    assert torch.equal(fresh.last, later.last)
    assert fresh.last[1, 0] == -1


def test_a_view_that_moved_within_what_the_fresh_object_has():
    later, fresh = (holder(ring=torch.zeros(3, 2)) for _ in range(2))
    later.ring += torch.arange(6.0).reshape(3, 2)
    fresh.now, later.now = fresh.ring[0], later.ring[2]
    ring = fresh.ring
    restore(fresh, state := saved(later))
    assert fresh.ring is ring
    assert torch.equal(ring, later.ring)
    assert first_difference(state, collect(fresh)) is None
    fresh.now.fill_(9.0)
    assert ring[2].tolist() == [9.0, 9.0]


def test_arrays_of_fields_and_of_objects():
    def made():
        fields = np.zeros(2, dtype=[("x", "f4"), ("y", [("z", "i8", (2, 1))])])
        fields["y"]["z"] += 3
        return [fields, fields[:1], np.array([[1, torch.ones(1)], ["a", None]], dtype=object), array("d", [1.5, 2.5])]

    for fields, first, objects, numbers in same_again(made):
        fields["x"][0] = 2
        assert first["x"].tolist() == [2]
        assert fields["y"]["z"].ravel().tolist() == [3] * 4
        assert (objects[0, 0], objects[0, 1].tolist(), objects[1].tolist()) == (1, [1.0], ["a", None])
        assert numbers.tolist() == [1.5, 2.5]


def test_sparse_tensors():
    def made():
        twice = torch.sparse_coo_tensor([[1, 1]], [2.0, 3.0], (4,))
        full = torch.arange(16.0).reshape(4, 4)
        return [twice, twice.coalesce(), full.to_sparse_csr(), full.to_sparse_csc(), full.to_sparse_bsr(2), full.to_sparse_bsc(2)]

    before = made()
    for found in same_again(made):
        assert [each.layout for each in found] == [each.layout for each in before]
        assert all(torch.equal(one.to_dense(), other.to_dense()) for one, other in zip(found, before, strict=True))
        assert [found[0].is_coalesced(), found[1].is_coalesced(), found[0]._nnz()] == [False, True, 2]
    state = saved(holder(a=before[2]))
    state["a.col_indices"] += 100
    with pytest.raises(UnlikeError):
        restore(holder(), state)


def test_expanded_tensors_come_back_with_what_they_show():
    def made():
        weight = nn.Parameter(torch.arange(3.0))
        return [weight, weight.detach().expand(4, 3), torch.tensor(2.0).expand(3, 2), torch.arange(5.0).unfold(0, 3, 1)]

    later = holder(held=made())
    assert collect(later)["held[2]"].shape == (1, 1), "each number is saved once"
    for found in same_again(made):
        assert [each.stride() for each in found] == [(1,), (0, 1), (0, 0), (1, 1)]
        with torch.no_grad():
            found[0][1] = 7
        assert found[1].tolist() == [[0, 7, 2]] * 4
        assert found[2].tolist() == [[2, 2]] * 3
        assert found[3].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_what_was_expanded_and_what_is_not_stand_for_each_other():
    wide, full = holder(held=torch.tensor([1.0]).expand(3)), holder(held=torch.arange(3.0))
    for later, fresh in ((wide, full), (full, wide)):
        restore(fresh, state := saved(later))
        assert first_difference(state, collect(fresh)) is None
    assert wide.held.tolist() == full.held.tolist() == [1, 1, 1]


def test_tensors_that_skip_numbers_skip_them_again():
    for found in same_again(lambda: [torch.arange(6.0)[::2], torch.arange(12.0).reshape(3, 4)[:, :2], torch.arange(6.0)[::6]]):
        assert [each.stride() for each in found] == [(2,), (4, 1), (6,)]
        assert [each.tolist() for each in found] == [[0, 2, 4], [[0, 1], [4, 5], [8, 9]], [0]]


def test_arrays_that_show_one_memory_show_one_again():
    def made():
        ring = np.arange(12.0).reshape(3, 4)
        return [ring, ring[1], ring[:, ::-2], ring.T, np.arange(4.0)]

    for found in same_again(made):
        found[0][1, 3] = -1
        assert found[1].tolist() == [4, 5, 6, -1]
        assert found[2][1].tolist() == [-1, 5]
        assert found[3][3, 1] == -1
    apart = holder(held=[np.zeros(2), np.zeros(2)])
    shared = np.ones(2)
    restore(fresh := holder(held=[shared, shared[:]]), saved(apart))
    fresh.held[0][0] = 1
    assert fresh.held[1].tolist() == [0, 0]


def test_arrays_keep_how_they_lie_in_memory():
    for found in same_again(lambda: [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.ones((3, 2)).T[:1], np.zeros((0, 2))]):
        assert found[0].flags.f_contiguous
        assert found[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_array_that_a_tensor_shows_too_is_named():
    array = np.zeros(3)
    (line,) = obstacles(holder(array=array[1:], tensor=torch.from_numpy(array)))
    assert line == "array: an array whose memory something shows that is no view of it, such as a tensor"
    tensor = torch.zeros(3)
    assert obstacles(holder(tensor=tensor, array=tensor.numpy()))
    assert not obstacles(holder(array=array, tensor=torch.from_numpy(array.copy())))
