"""Captured steps: run as written once, captured once, then launched."""

from types import SimpleNamespace

import pytest
import torch

from nlbench.kernels import graphs
from nlbench.kernels.graphs import Captured


def tensor_at(place: int, shape: tuple[int, ...] = (2,)) -> SimpleNamespace:
    return SimpleNamespace(device=SimpleNamespace(type="cuda"), shape=shape, data_ptr=lambda: place)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    class Capture:
        def __init__(self, function: object, inputs: object, places: tuple[int, ...]) -> None:
            self.places = places
            found.append("captured")

        def launch(self, inputs: object) -> str:
            found.append("launched")
            return "launched"

    monkeypatch.setattr(graphs, "_Capture", Capture)
    return found


def test_a_step_runs_as_written_then_is_captured_once_and_launched(events: list[str]) -> None:
    step = Captured(lambda *inputs: events.append("run"))
    for _ in range(4):
        step([tensor_at(1)], tensor_at(9))
    assert events == ["run", "captured", "launched", "launched", "launched"]


def test_moved_tensors_and_other_kinds_or_shapes_are_captured_anew(events: list[str]) -> None:
    step = Captured(lambda *inputs: events.append("run"))
    for _ in range(2):
        step([tensor_at(1)], tensor_at(9))
    del events[:]
    step([tensor_at(2)], tensor_at(9))
    assert events == ["captured", "launched"]
    step([tensor_at(2)], tensor_at(9), kind="other")
    step([tensor_at(2)], tensor_at(9, (3,)))
    assert events == ["captured", "launched", "run", "run"]


def test_what_needs_no_input_is_captured_by_the_places_of_its_state(events: list[str]) -> None:
    step = Captured(lambda: events.append("run"))
    for place in (1, 1, 1, 2):
        step([tensor_at(place)])
    assert events == ["run", "captured", "launched", "launched", "captured", "launched"]


def test_no_more_kinds_are_captured_than_asked_for(events: list[str]) -> None:
    step = Captured(lambda *inputs: events.append("run"), most=1)
    for size in (2, 3, 2, 3, 3):
        step([tensor_at(1)], tensor_at(9, (size,)))
    assert events == ["run", "run", "captured", "launched", "run", "run"]


def test_off_a_gpu_every_call_runs_as_written() -> None:
    step = Captured(lambda each: each + 1)
    assert [float(step([], torch.tensor(float(i)))) for i in range(3)] == [1.0, 2.0, 3.0]


def test_garbage_is_collected_before_the_first_capture_alone(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.gc, "collect", lambda: events.append("collected"))
    step = Captured(lambda *inputs: None)
    for kind in ("one", "one", "other", "other"):
        step([tensor_at(1)], tensor_at(9), kind=kind)
    assert events == ["collected", "captured", "launched", "captured", "launched"]
