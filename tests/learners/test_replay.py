"""Captured steps: run as written once, captured once, replayed; and on a GPU the same to the bit."""

from types import SimpleNamespace

import pytest
import torch

import nlbench
from nlbench import runner
from nlbench.learners import replay
from nlbench.learners.replay import Replay
from nlbench.protocol import evaluate_stream
from nlbench.runner import Machine


def tensor_at(place: int, shape: tuple[int, ...] = (2,)) -> SimpleNamespace:
    return SimpleNamespace(device=SimpleNamespace(type="cuda"), shape=shape, data_ptr=lambda: place)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    class Capture:
        def __init__(self, function: object, inputs: object, places: tuple[int, ...]) -> None:
            self.places = places
            found.append("captured")

        def replay(self, inputs: object) -> str:
            found.append("replayed")
            return "replayed"

    monkeypatch.setattr(replay, "_Capture", Capture)
    return found


def test_a_step_runs_as_written_then_is_captured_once_and_replayed(events: list[str]) -> None:
    step = Replay(lambda *inputs: events.append("run"))
    for _ in range(4):
        step([tensor_at(1)], tensor_at(9))
    assert events == ["run", "captured", "replayed", "replayed", "replayed"]


def test_moved_tensors_and_other_kinds_or_shapes_are_captured_anew(events: list[str]) -> None:
    step = Replay(lambda *inputs: events.append("run"))
    for _ in range(2):
        step([tensor_at(1)], tensor_at(9))
    del events[:]
    step([tensor_at(2)], tensor_at(9))
    assert events == ["captured", "replayed"]
    step([tensor_at(2)], tensor_at(9), kind="other")
    step([tensor_at(2)], tensor_at(9, (3,)))
    assert events == ["captured", "replayed", "run", "run"]


def test_what_needs_no_input_is_captured_by_the_places_of_its_state(events: list[str]) -> None:
    step = Replay(lambda: events.append("run"))
    for place in (1, 1, 1, 2):
        step([tensor_at(place)])
    assert events == ["run", "captured", "replayed", "replayed", "captured", "replayed"]


def test_off_a_gpu_every_call_runs_as_written() -> None:
    step = Replay(lambda each: each + 1)
    assert [float(step([], torch.tensor(float(i)))) for i in range(3)] == [1.0, 2.0, 3.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("model", "precision"), [("mlp", "float32"), ("mlp", "bf16"), ("hope", "float32")])
def test_replayed_steps_learn_the_same_to_the_bit(model: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(captured: bool) -> dict[str, torch.Tensor]:
        if not captured:
            monkeypatch.setattr(Replay, "__call__", lambda self, state, *inputs, kind=None: self._function(*inputs))
        plan = nlbench.resolve(model, "permuted-digits", seeds=2, precision=precision)
        stream, learner = runner.prepare(plan, Machine(device="cuda"))
        samples = stream.train(1)
        classes = torch.ones(stream.n_classes, dtype=torch.bool, device="cuda")
        with torch.no_grad():
            for inputs, labels in samples.batches(stream.presentation("1/0", len(samples)), 16):
                learner.observe(nlbench.Batch(inputs, labels, classes, None))
        return learner.state_dict()

    captured, written = learned(True), learned(False)
    assert all(torch.equal(captured[name], written[name]) for name in written)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["mlp", "hope", "random-features"])
@pytest.mark.parametrize("stream", ["split-digits", "permuted-digits"])
def test_a_gpu_learns_what_the_cpu_learns(model: str, stream: str) -> None:
    """Before and after tasks were learned: on a task yet to come readings are nearly even, and rounding decides by up to 0.04."""

    def accuracy(device: str) -> torch.Tensor:
        plan = nlbench.resolve(model, stream, seeds=2)
        built, learner = runner.prepare(plan, Machine(device=device))
        with torch.no_grad():
            rows = list(evaluate_stream(learner, built, batch=plan.batch))
        cells = [row for row in rows if row.metric == "accuracy" and (not row.after_task or row.on_task <= row.after_task)]
        return torch.tensor([row.value for row in cells], dtype=torch.float64)

    there, here = accuracy("cuda"), accuracy("cpu")
    torch.testing.assert_close(there, here, atol=0.02, rtol=0.0)
    torch.testing.assert_close(there.mean(), here.mean(), atol=0.001, rtol=0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["mlp", "hope", "hope-pixels"])
def test_a_rehearsal_leaves_nothing_behind(model: str) -> None:
    plan = nlbench.resolve(model, "permuted-digits", seeds=2)
    there, here = (runner.prepare(plan, Machine(device=device))[1].state_dict() for device in ("cuda", "cpu"))
    for name, expected in here.items():
        torch.testing.assert_close(
            there[name].cpu(), expected, rtol=1e-5, atol=1e-6
        )  # logarithms of draws differ by their last bit
