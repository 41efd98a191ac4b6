"""What is recorded of answers beside how many are right equals a plain count, and nothing is where nobody asks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_streams import mlp, rows_of, running, small_stream, values

import nlbench
from nlbench import NlbenchError
from nlbench.protocol.details import BINS, Details

ALL = {"confusion": True, "task_aware": True, "calibration": True}


def asked(**stream):
    ran = running(small_stream(**stream), seeds=(0, 3))
    learner = mlp(ran)
    return ran, learner, rows_of(learner, ran)


def test_nothing_is_recorded_and_no_run_is_another_where_nobody_asks():
    _, _, rows = asked()
    assert not [row for row in rows if row.metric.startswith(("confusion", "task_aware", "negative", "calibration"))]
    plain, off, on = (
        nlbench.resolve("mlp", "split-digits", overrides=overrides).fingerprint
        for overrides in ({}, {"protocol.confusion": "false"}, {"protocol.confusion": "true"})
    )
    assert plain == off != on


def test_every_detail_equals_a_plain_count_by_seed_and_task():
    ran, learner, rows = asked(**ALL)
    logits, labels = [], []
    for task in (1, 2, 3):
        ((inputs, own),) = ran.test(task).blocks(100)
        logits.append(learner.predict(inputs, None).double().numpy())
        labels.append(own[0].numpy())
    confusion = np.zeros((2, 6, 6))
    for seed in (0, 1):
        for task in (1, 2, 3):
            z, y = logits[task - 1][seed], labels[task - 1]
            np.add.at(confusion[seed], (y, z.argmax(1)), 1)
            own = z[:, 2 * task - 2 : 2 * task].argmax(1) + 2 * task - 2
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            bins = np.minimum((p.max(1) * BINS).astype(int), BINS - 1)
            gaps = [abs(((z.argmax(1) == y) - p.max(1))[bins == each].sum()) for each in range(BINS)]
            wanted = {
                "task_aware_accuracy": (own == y).mean(),
                "negative_log_likelihood": -np.log(p[np.arange(len(y)), y]).mean(),
                "calibration_error": sum(gaps) / len(y),
            }
            for metric, value in wanted.items():
                assert values(rows, metric, (0, 3)[seed])[3, task] == pytest.approx(value, rel=1e-5)
    found = {(row.seed, row.metric): row for row in rows if row.metric.startswith("confusion.") and row.after_task == 3}
    for seed in (0, 1):
        for label in range(6):
            for answer in range(6):
                row = found.get(((0, 3)[seed], f"confusion.{label}.{answer}"))
                assert (row.value if row else 0) == confusion[seed, label, answer]
                assert row is None or row.n == confusion[seed, label].sum()


def test_blocks_that_mix_tasks_record_the_same():
    _, _, plain = asked(**ALL)
    ran = running(small_stream(**ALL), seeds=(0, 3))
    again = mlp(ran)
    again.outside = True  # measured in mixed blocks before the first task
    mixed = rows_of(again, ran)
    for one, other in zip(
        *([row for row in rows if row.after_task == 0 and row.on_task] for rows in (plain, mixed)), strict=True
    ):
        assert one[:5] == other[:5]
        assert one.value == pytest.approx(other.value, rel=1e-5)


def test_a_label_that_does_not_compete_has_no_likelihood():
    details = Details(running(small_stream(calibration=True)))
    details.take(1, torch.zeros(1, 2, 6), torch.tensor([[0, 1]]), torch.tensor([True] + [False] * 5))
    rows = {row.metric: row.value for row in details.rows(1)}
    assert rows["negative_log_likelihood"] is None
    assert math.isclose(rows["calibration_error"], 0.5)


def test_a_record_gives_its_confusion_matrix_whose_diagonal_is_what_was_right(tmp_path):
    run = nlbench.run("mlp", small_stream(confusion=True), seeds=2, results=tmp_path, device="cpu")
    for after in (0, 1, 3):
        matrix = run.record.confusion(after)
        assert matrix.shape == (2, 6, 6)
        assert (matrix.sum((1, 2)) == 60).all()
        right = np.trace(matrix, axis1=1, axis2=2) / 60
        assert right == pytest.approx(np.asarray(run.record.accuracies)[:, after].mean(1))
    assert (run.record.confusion() == matrix).all()
    plain = nlbench.run("mlp", small_stream(), seeds=2, results=tmp_path, device="cpu")
    with pytest.raises(NlbenchError, match=r"protocol\.confusion=true"):
        plain.record.confusion()
