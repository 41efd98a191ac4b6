from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_streams import declared_stream

import nlbench
from nlbench.api import tune
from nlbench.errors import DataError, NlbenchError
from nlbench.protocol import Schedule
from nlbench.sources import find
from nlbench.streams import whole
from nlbench.streams.validation import ValidationStream
from nlbench.streams.whole import rotate

CHANGES = ("brightness", "contrast", "noise", "shift")


def shown(stream, part: str, task: int, seed_index: int = 0) -> torch.Tensor:
    samples = stream.ordered(getattr(stream, part)(task), task)
    inputs, _ = samples.take(torch.arange(len(samples))[None])
    return inputs[min(seed_index, len(inputs) - 1)]


def test_every_task_is_permuted_the_first_included_and_differently_for_each_seed() -> None:
    stream = declared_stream("permuted", [0, 1], tasks=4)
    assert stream.input_shape == (64,)
    orders = [tuple(stream.pixel_order(task)[index].tolist()) for task in range(1, 5) for index in range(2)]
    assert len({*orders, tuple(range(64))}) == 9
    assert all(sorted(order) == list(range(64)) for order in orders)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_permuted_image_shows_pixel_order_p_at_position_p_in_training_and_test(part: str) -> None:
    stream = declared_stream("permuted", [3, 8], tasks=3)
    plain = getattr(stream, part)(2).inputs
    for index in range(2):
        order = stream.pixel_order(2)[index]
        assert torch.equal(shown(stream, part, 2, index), plain[:, order])
        alone = declared_stream("permuted", [[3, 8][index]], tasks=3)
        assert torch.equal(alone.pixel_order(2)[0], order)


@pytest.mark.parametrize("kind", ["permuted", "rotated"])
@pytest.mark.parametrize(("scenario", "n_classes", "offset"), [("domain-il", 10, 0), ("task-il", 30, 10), ("class-il", 30, 10)])
def test_labels_are_the_data_sets_own_or_offset_by_task(kind: str, scenario: str, n_classes: int, offset: int) -> None:
    stream = declared_stream(kind, tasks=3, scenario=scenario)
    assert stream.n_classes == n_classes
    for task in (1, 2, 3):
        for part in (stream.train, stream.test):
            labels = part(task).labels[0]
            assert torch.equal(labels - offset * (task - 1), part(1).labels[0])
            assert stream.task_classes(task).nonzero().flatten().tolist() == sorted(
                range(n_classes) if scenario == "domain-il" else set(labels.tolist())
            )


def test_tasks_of_a_rotated_stream_turn_by_equal_angles_and_all_differ() -> None:
    stream = declared_stream("rotated", tasks=10, degrees=18.0)
    assert stream.input_shape == (1, 8, 8)
    tasks = [shown(stream, "test", task) for task in range(1, 11)]
    upright = declared_stream("split", tasks=1).test(1)
    assert torch.allclose(tasks[0].sum(), upright.inputs.sum(), atol=1e-2)
    for a in range(10):
        for b in range(a):
            assert (tasks[a] - tasks[b]).abs().mean() > 0.05
    assert all(torch.equal(stream.test(task).inputs, again) for task, again in enumerate(tasks, 1))


def test_the_size_of_a_rotated_training_set_is_known_without_rotating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = declared_stream("rotated", tasks=3)
    with monkeypatch.context() as patched:
        patched.setattr(whole, "rotate", lambda *args: pytest.fail("rotated"))
        steps = Schedule.of(stream, 16, "sequential").steps
    assert steps == 3 * -(-len(stream.train(3)) // 16)


def test_rotating_by_nothing_is_the_identity_and_by_90_degrees_is_rot90() -> None:
    images = torch.from_numpy(np.random.Generator(np.random.Philox(1)).random((5, 1, 7, 7), dtype=np.float32))
    assert torch.allclose(rotate(images, 0.0), images, atol=1e-6)
    for quarters in (1, 2, 3):
        assert torch.allclose(rotate(images, 90.0 * quarters), torch.rot90(images, quarters, (2, 3)), atol=1e-5)


def test_rotation_is_bilinear_with_zeros_outside_and_standardises_afterwards() -> None:
    images = torch.ones(1, 1, 8, 8)
    turned = rotate(images, 45.0)
    assert turned[0, 0, 0, 0] == 0.0
    assert torch.allclose(turned[0, 0, 3:5, 3:5], torch.ones(2, 2), atol=1e-6)
    assert ((turned > 0.01) & (turned < 0.99)).any()
    stream = declared_stream("rotated", tasks=2, degrees=45.0)
    background = shown(stream, "train", 2)[:, 0, 0, 0]  # a corner never holds ink, so it is the standardised zero
    assert torch.allclose(background, torch.full_like(background, shown(stream, "train", 1).min().item()), atol=1e-6)


def test_tasks_of_a_relabelled_stream_show_the_same_samples_and_disagree_on_every_label() -> None:
    stream = declared_stream("relabelled", [0, 1], tasks=10)
    plain = declared_stream("permuted", tasks=1).train(1).labels
    called = torch.stack([stream.train(task).labels for task in range(1, 11)])
    assert torch.equal(called[0], plain.expand(2, -1))  # the data set's own
    assert not torch.equal(called[1, 0], called[1, 1])  # each seed has its own
    for a in range(10):
        assert torch.equal(stream.train(a + 1).inputs, stream.train(1).inputs)
        for b in range(a):
            assert (called[a] != called[b]).all()
    for task in range(1, 11):
        for seed in range(2):
            pairs = set(zip(plain[0].tolist(), called[task - 1, seed].tolist(), strict=True))
            tested = set(zip(stream.test(1).labels[seed].tolist(), stream.test(task).labels[seed].tolist(), strict=True))
            assert len(pairs) == 10
            assert pairs == tested


def test_a_record_of_tasks_that_contradict_each_other_has_no_forgetting_and_says_why(tmp_path: Path) -> None:
    found = nlbench.run("mlp", "relabelled-digits", seeds=1, results=tmp_path, overrides={"stream.tasks": "3"}).record
    assert found.footer.conflict
    for name in ("average_accuracy", "forgetting", "backward_transfer", "min_accuracy"):
        assert found.metric(name) == {0: None}
        assert "contradict" in found.reason(name)
    assert found.metric("learning_accuracy")[0] > 0.7
    assert found.metric("prequential_accuracy")[0] > 0.5
    found.verify()
    found.verify_all()
    shown = nlbench.compare([tmp_path])
    assert shown.groups[0].metrics[0] == "prequential_accuracy"
    with pytest.raises(NlbenchError, match=r"average_accuracy cannot be measured .*contradict"):
        tune("mlp", "relabelled-digits", {"learner.rate": ["0.1"]})
    told = nlbench.run("mlp", "relabelled-digits", seeds=1, results=tmp_path, scenario="task-il", overrides={"stream.tasks": "3"})
    assert told.metric("average_accuracy")[0] > 0.7  # where the task is told, nothing contradicts


@pytest.mark.parametrize("change", CHANGES)
def test_a_drifting_stream_moves_by_the_declared_step_a_task(change: str) -> None:
    stream = declared_stream("drifting", [0], tasks=4, change=change, step=0.2)
    plain = find("digits").read()
    source = find("digits")
    raw = [stream.train(task).inputs.double().numpy() * source.std + source.mean for task in range(1, 5)]
    assert np.allclose(raw[0], plain.train_inputs, atol=1e-5)
    mean, deviation = plain.train_inputs.mean(), plain.train_inputs.std()
    for steps in range(4):
        moved = raw[steps] - raw[0]
        if change == "brightness":
            assert np.allclose(moved, 0.2 * steps, atol=1e-4)
        elif change == "contrast":
            assert np.allclose(raw[steps], mean + (raw[0] - mean) * 0.8**steps, atol=1e-4)
        elif change == "noise":
            assert abs(moved.std() - 0.2 * steps * deviation) < 0.01 * deviation
            assert abs(moved.mean()) < 0.01 * deviation
        else:
            assert np.ptp(moved, axis=0).max() < 1e-4  # the same for all samples
            assert np.allclose(moved, steps * (raw[1] - raw[0]), atol=1e-4)
            assert abs(moved[0].std() - 0.2 * steps * deviation) < 0.2 * max(steps, 1) * deviation * 0.3
    moved = stream.test(3).inputs - stream.test(1).inputs
    if change == "shift":
        assert torch.allclose(moved[:5], (stream.train(3).inputs - stream.train(1).inputs)[:5], atol=1e-5)
    assert torch.equal(stream.test(2).labels, stream.test(1).labels)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize(
    "stream", [{"kind": "rotated"}, *({"kind": "drifting", "change": change, "step": 0.1} for change in CHANGES)]
)
def test_images_of_a_file_are_shown_as_those_of_the_source_with_these_pixels(
    stream: dict[str, Any], as_bytes: bool, tmp_path: Path
) -> None:
    own = declared_stream(source=digits_file(tmp_path, as_bytes), tasks=3, **stream)
    built_in = declared_stream(tasks=3, **stream)
    for task in (1, 3):
        for part in ("train", "test"):
            assert torch.allclose(shown(own, part, task), shown(built_in, part, task), atol=0.02 if as_bytes else 1e-5)


@pytest.mark.parametrize("kind", ["split", "instances", "rotated"])
def test_the_margin_of_a_crop_is_as_dark_as_the_darkest_pixel(kind: str, tmp_path: Path) -> None:
    for source in ("digits", digits_file(tmp_path, as_bytes=False)):
        stream = ValidationStream(declared_stream(kind, source=source, tasks=2), 1, 0.2)
        assert float(stream.black) == pytest.approx(float(stream.train(1).inputs.min()), abs=1e-6)


def digits_file(folder: Path, as_bytes: bool) -> str:
    """Return the path of a file of the digits."""
    digits, path = find("digits").read(), folder / "digits.npz"
    parts = {name: getattr(digits, name) for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")}
    if as_bytes:
        parts = {name: np.rint(255 * part).astype(np.uint8) if "inputs" in name else part for name, part in parts.items()}
    np.savez(path, **parts)
    return str(path)


def test_brightness_adds_to_raw_numbers_that_have_each_their_own_scale(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).standard_normal((60, 2)) * [1.0, 10.0]
    np.savez(tmp_path / "two.npz", inputs=inputs, labels=np.arange(60) % 2)
    stream = declared_stream("drifting", source=str(tmp_path / "two.npz"), tasks=2, change="brightness", step=0.5)
    rows = stream.declared.source.read()
    moved = (stream.train(2).inputs - stream.train(1).inputs) * torch.from_numpy(rows.scale[1])
    assert torch.allclose(moved, torch.full_like(moved, 0.5), atol=1e-5)


def test_what_is_no_image_is_not_rotated(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", inputs=np.arange(30.0)[:, None], labels=np.arange(30) % 2)
    with pytest.raises(DataError, match=r"one: only images of one channel are rotated, got \(1,\)"):
        declared_stream("rotated", source=str(tmp_path / "one.npz"), tasks=2)
