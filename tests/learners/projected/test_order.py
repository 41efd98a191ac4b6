from __future__ import annotations

import pytest
import torch
from small_streams import CPU
from torch import Tensor

from nlbench import Problem
from nlbench.learners.projected.order import OwedOrder, permuted_square, with_last

S, N = 2, 7


def owed() -> OwedOrder:
    return OwedOrder(Problem((N,), 3, (0, 1), "class-il", CPU, "auto", 100))


def order(number: int) -> Tensor:
    return torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(10 * number + s)) for s in range(S)])


def test_what_follows_late_ends_where_what_followed_at_once_is() -> None:
    made, now = owed(), torch.randn(S, N)
    late = now.clone()
    for number in range(3):
        now = now.gather(1, order(number))
        made.move(order(number))
    found = made.settle()
    assert found is not None
    assert torch.equal(late.gather(1, found), now)
    assert not torch.equal(late, now)
    assert made.settle() is None
    assert made.unsettled is None
    made.move(order(3))
    assert made.unsettled is not None
    assert torch.equal(made.unsettled, order(3))
    again = made.settle()
    assert again is not None
    assert torch.equal(again, order(3))


def test_to_and_fro_owes_nothing() -> None:
    made = owed()
    made.move(order(0))
    made.move(order(0).argsort(1))
    assert made.settle() is None


def test_another_takes_over_what_is_owed() -> None:
    made, other = owed(), owed()
    made.move(order(0))
    other.restore(made.owed)
    settled = made.settle(), other.settle()
    assert settled[0] is not None
    assert settled[1] is not None
    assert torch.equal(*settled)


def test_of_what_was_in_place_nothing_is_owed() -> None:
    made = owed()
    made.restore(owed().owed)
    assert made.unsettled is None


def test_the_device_is_asked_only_after_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    made = owed()
    monkeypatch.setattr(torch, "equal", lambda *tensors: pytest.fail("asked"))
    assert made.settle() is None


def test_squares_are_reordered_along_both_axes_and_the_constant_stays_last() -> None:
    keys, chosen = torch.randn(S, 4, N), order(1)
    ordered = keys.gather(2, chosen[:, None].expand_as(keys))
    torch.testing.assert_close(permuted_square(keys.mT @ keys, chosen), ordered.mT @ ordered)
    assert torch.equal(with_last(chosen)[:, -1], torch.full((S,), N))
    assert torch.equal(with_last(chosen)[:, :-1], chosen)
