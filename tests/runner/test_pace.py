from __future__ import annotations

from small_streams import mlp, running, small_stream

from nlbench.protocol import Meeting, Schedule
from nlbench.runner import pace
from nlbench.runner.pace import Moment, Pace


def moments(monkeypatch, every: float, **stream) -> list[Moment]:
    """Return the moments of a small run whose clock moves a second a reading."""
    clock = iter(range(10_000))
    monkeypatch.setattr(pace, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(pace, "EVERY", every)
    ran = running(small_stream(**stream), seeds=(0, 1))
    meeting, found = Meeting(mlp(ran), ran, Schedule.of(ran, 8, "sequential")), []
    shown = Pace(meeting, found.append)
    for _ in meeting.steps():
        shown.step()
    return found


def test_moments_count_the_samples_of_every_pass(monkeypatch):
    found = moments(monkeypatch, 0.0, passes=2)
    assert [each.samples for each in found[1:12]] == [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 80]
    assert found[-1].samples == found[-1].total == 240


def test_between_boundaries_moments_are_seldom(monkeypatch):
    assert [each.samples for each in moments(monkeypatch, 1e9)] == [0, 40, 80, 120]


def test_time_left_is_at_the_rate_so_far(monkeypatch):
    one = next(each for each in moments(monkeypatch, 0.0) if each.samples == 40)
    assert one.rate is not None
    assert one.left == (120 - 40) / one.rate
    assert moments(monkeypatch, 0.0)[0].rate is None


def test_the_loss_is_the_mean_of_the_seeds_last(monkeypatch):
    found = moments(monkeypatch, 0.0)
    assert found[0].loss is None
    assert all(each.loss is not None and each.loss > 0 for each in found[1:6])
