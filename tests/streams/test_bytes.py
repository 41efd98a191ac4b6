"""Images that are bytes, from a folder as it is published to the batches of a learner."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
import torch
from pictures import packed
from small_streams import CPU, Spy, problem_of

import nlbench
from nlbench import protocol
from nlbench.errors import DataError
from nlbench.plan import DeclaredStream, resolve
from nlbench.sources.cifar import CIFAR100, Cifar
from nlbench.specs import stream_spec
from nlbench.streams import stream as streams
from nlbench.streams.augmentation import augmentation
from nlbench.streams.building import build
from nlbench.streams.scaling import by_channel
from nlbench.streams.stream import Samples, Stream

SEEDS = (0, 3)


@pytest.fixture
def made(tmp_path: Path) -> Cifar:
    """CIFAR-100 of three training images and one test image a class, noise around a colour of each class."""
    rng = np.random.Generator(np.random.Philox(4))
    files = {}
    for name, each in (("train.bin", 3), ("test.bin", 1)):
        labels = rng.permutation(np.arange(100).repeat(each))
        images = (2 * labels[:, None] + rng.integers(0, 56, (len(labels), 3072))).astype(np.uint8)
        files[name] = np.concatenate([(labels // 5)[:, None], labels[:, None], images], 1).astype(np.uint8).tobytes()
    content = packed(files)
    (tmp_path / "CIFAR").mkdir()
    (tmp_path / "CIFAR/cifar-100-binary.tar.gz").write_bytes(content)
    return replace(CIFAR100, files={"cifar-100-binary.tar.gz": sha256(content).hexdigest()})


def stream_of(made: Cifar, folder: Path, **said: Any) -> Stream:
    table = {
        "kind": "split",
        "source": "cifar100",
        "tasks": 10,
        **{key: said.pop(key) for key in ("class_order", "sizes") if key in said},
    }
    if "sizes" in table:
        del table["tasks"]
    spec = stream_spec({"title": "made", "stream": table, "protocol": {"batch": 8, **said}}, "made")
    return build(DeclaredStream("made", spec, made), SEEDS, CPU, folder)


def shown_to_a_learner(stream: Stream) -> list[Any]:
    learner = Spy(None, problem_of(stream))
    list(protocol.evaluate_stream(learner, stream, batch=8))
    return learner.batches


def test_bytes_stay_bytes_until_a_batch_is_shown_scaled_by_channel(made: Cifar, tmp_path: Path) -> None:
    arrays, stream = made.read(tmp_path), stream_of(made, tmp_path)
    raw = arrays.train_inputs.astype(np.float64)
    mean, std = raw.mean((0, 2, 3), keepdims=True), raw.std((0, 2, 3), keepdims=True)
    for task in (1, 10):
        samples = stream.train(task)
        assert samples.inputs.dtype == torch.uint8
        assert samples.labels.min() == 10 * (task - 1)
        rows = samples.rows[0].numpy()
        inputs, _ = samples.take(torch.arange(len(samples))[None])
        np.testing.assert_allclose(inputs[0].numpy(), ((raw - mean) / std)[rows], atol=1e-5)
    tested = stream.test(3)
    inputs, labels = (torch.cat(part, 1) for part in zip(*tested.blocks(4), strict=True))
    expected = ((arrays.test_inputs - mean) / std)[[int(np.flatnonzero(arrays.test_labels == label)[0]) for label in labels[0]]]
    np.testing.assert_allclose(inputs[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [[50, 10, 10, 10, 10, 10], [20] * 5, [1, 99]])
def test_classes_are_dealt_out_in_unequal_tasks_and_recorded_so(sizes: list[int], made: Cifar, tmp_path: Path) -> None:
    order = [*range(99, -1, -1)]
    stream = stream_of(made, tmp_path, sizes=sizes, class_order=order, augment=["crop", "flip"])
    arrays, bounds = made.read(tmp_path), [0, *accumulate(sizes)]
    for task, (first, last) in enumerate(pairwise(bounds), 1):
        train, test = stream.train(task), stream.test(task)
        assert (len(train), len(test)) == (3 * (last - first), last - first)
        for part, images, labels in (
            (train, arrays.train_inputs, arrays.train_labels),
            (test, arrays.test_inputs, arrays.test_labels),
        ):
            assert sorted(set(part.labels[0].tolist())) == list(range(first, last))
            shown = part.inputs[part.rows[0]].numpy()
            for image, label in zip(shown, part.labels[0].tolist(), strict=True):
                assert any(np.array_equal(image, one) for one in images[labels == order[label]])
    run = nlbench.run("mlp", stream.declared, seeds=2, results=tmp_path, data=tmp_path, device="cpu")
    assert run.record.accuracies.shape == (2, len(sizes) + 1, len(sizes))
    assert not run.record.accuracies.mask.any()
    assert run.record.footer.runs[0].class_orders == {"all": order}
    assert run.record.terms["augment"] == "crop+flip"
    assert [row.n for row in run.record.values("accuracy") if (row.seed, row.after_task) == (0, 1)] == sizes


def test_batches_are_the_same_numbers_in_whatever_way_they_are_read(
    made: Cifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(made, tmp_path)
    samples, every = stream.train_until(3), stream.presentation("1/0", 90)
    assert len(samples) == 90
    expected, labels = samples.take(every)
    batches = list(samples.batches(every, 8))
    assert torch.equal(torch.cat([inputs for inputs, _ in batches], 1), expected)
    monkeypatch.setitem(streams.AHEAD, "cpu", 3)
    assert all(torch.equal(inputs, alone) for (inputs, _), (alone, _) in zip(samples.batches(every, 8), batches, strict=True))
    part = samples.part(every[:, 40:50])
    assert torch.equal(part.take(torch.arange(10)[None])[0], expected[:, 40:50])
    assert torch.equal(labels[:, 40:50], part.labels)


def test_a_learner_is_shown_changed_images_for_training_and_never_for_a_test(made: Cifar, tmp_path: Path) -> None:
    plain, changed = (shown_to_a_learner(stream_of(made, tmp_path, augment=names)) for names in ([], ["crop", "flip"]))
    assert len(plain) == len(changed)
    for first, second in zip(plain, changed, strict=True):
        assert torch.equal(first.labels, second.labels)
        assert second.inputs.dtype == torch.float32
        same = (first.inputs == second.inputs).flatten(2).all(2).double().mean()
        assert same < 0.2
    stream, other = stream_of(made, tmp_path), stream_of(made, tmp_path, augment=["crop"])
    assert torch.equal(next(stream.test(1).blocks(5))[0], next(other.test(1).blocks(5))[0])


def test_what_is_not_an_image_is_not_changed(tmp_path: Path) -> None:
    table = {"kind": "permuted", "source": "digits", "tasks": 2}
    spec = stream_spec({"title": "made", "stream": table, "protocol": {"batch": 8, "augment": ["flip"]}}, "made")
    with pytest.raises(DataError, match=r"made: protocol.augment = \['flip'\] changes images, got samples of \(64,\)"):
        build(DeclaredStream("made", spec, spec.stream.found), (0,), CPU)


def test_how_images_are_changed_is_a_term_of_a_run_and_no_part_of_its_stream() -> None:
    plain, changed = (
        resolve("mlp", "split-digits", seeds=(0,), overrides=overrides) for overrides in ({}, {"protocol.augment": '["flip"]'})
    )
    assert plain.declared.digest == changed.declared.digest
    assert plain.fingerprint != changed.fingerprint
    assert "augment" not in plain.describe()["terms"]
    assert changed.describe()["terms"]["augment"] == "flip"


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "least"), [((), 200_000), (("crop", "flip"), 20_000)])
def test_images_of_bytes_are_read_this_fast(changes: tuple[str, ...], least: int) -> None:
    """Images of 32x32 in colour a second of one core, in batches of 128."""
    rng = np.random.Generator(np.random.Philox(6))
    images = rng.integers(0, 256, (20_000, 3, 32, 32), dtype=np.uint8)
    n = len(images)
    samples = Samples(
        torch.from_numpy(images), torch.arange(n)[None], torch.zeros(1, n, dtype=torch.int64), scaling=by_channel(images, CPU)
    )
    order = torch.from_numpy(rng.permutation(n))[None]
    changed = augmentation(changes, (0,), "1/0", n, CPU)
    seconds = []
    for _ in range(3):
        start = process_time()
        assert sum(inputs.shape[1] for inputs, _ in samples.batches(order, 128, changed)) == n
        seconds.append(process_time() - start)
    assert n / min(seconds) >= least
