"""Trackers get the rows the record gets; each is run for real in its offline mode and read back."""

from __future__ import annotations

import math
import time

import pytest

from nlbench import api, loggers
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.records import Row


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two seeds: its plan, its record, and every row it yielded."""
    plan = api.resolve("mlp", "split-digits", seeds=2, overrides={"learner.hidden": "[8]"})
    rows: list[Row] = []
    done = api.carry_out(plan, tmp_path_factory.mktemp("results"), api.options(device="cpu"), listen=rows.append)
    return plan, done.record, rows


def send(tracker, finished, results):
    plan, record, rows = finished
    with loggers.opened(tracker, plan, results) as logger:
        for row in rows:
            logger(row)
        loggers.conclude(logger, record, plan.seeds)


def expected(finished, metric, task, seed):
    """Return {step: value} of a series, from the rows."""
    _, _, rows = finished
    return {
        (row.after_task if row.samples_seen is None else row.samples_seen): row.value
        for row in rows
        if (row.metric, row.on_task, row.seed) == (metric, task, seed)
    }


def assert_same(found, wanted):
    assert wanted
    assert found.keys() == wanted.keys()
    for step, value in wanted.items():
        assert math.isclose(found[step], value, abs_tol=1e-6)


def test_tensorboard_event_files_hold_every_row(finished, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'nlbench[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send("tensorboard", finished, tmp_path)
    plan, record, rows = finished
    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard" / plan.record_path(tmp_path).stem), {"scalars": 0})
    events.Reload()

    def scalars(name):
        return {event.step: event.value for event in events.Scalars(name)}

    assert_same(scalars("accuracy/task-2/seed-1"), expected(finished, "accuracy", 2, 1))
    assert_same(scalars("accuracy_within/task-1/seed-0"), expected(finished, "accuracy_within", 1, 0))
    assert_same(scalars("forgetting/seed-0"), {record.n_tasks: record.metric("forgetting")[0]})
    assert {loggers.series(row) for row in rows if row.value is not None} <= set(events.Tags()["scalars"])


def test_mlflow_file_store_holds_rows_and_declaration(finished, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install 'nlbench[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    send("mlflow", finished, tmp_path)
    client = MlflowClient(tracking_uri=(tmp_path / "logs" / "mlflow").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("nlbench").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["learner_spec.learner.hidden"] == "[8]"
    history = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "accuracy/task-2/seed-1")}
    assert_same(history, expected(finished, "accuracy", 2, 1))
    assert math.isclose(run.data.metrics["forgetting/seed-0"], finished[1].metric("forgetting")[0])


def records_of(log: bytes) -> bytes:
    """Return the records of a W&B file without their framing.

    It is the log of LevelDB: a header of 7 bytes, and blocks of 32 KiB whose chunks (checksum, length, type) may cut a record.
    """
    records, place = b"", 7
    while place < len(log):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length = int.from_bytes(log[place + 4 : place + 6], "little")
        records += log[place + 7 : place + 7 + length]
        place += 7 + length
    return records


def test_wandb_offline_directory_holds_the_rows(finished, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'nlbench[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    send("wandb", finished, tmp_path)
    (file,) = tmp_path.glob("logs/wandb/offline-run-*/run-*.wandb")
    names = {loggers.series(row).encode() for row in finished[2] if row.value is not None}
    ends = time.monotonic() + 60  # another process writes the file, and may be behind on a busy machine
    while names_missing := [name for name in names if name not in (content := records_of(file.read_bytes()))]:
        assert time.monotonic() < ends, names_missing
        time.sleep(0.2)
    for value in expected(finished, "accuracy", 2, 1).values():
        assert repr(value).encode() in content


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.written, self.failed = [], None

    def write(self, values, axis, step):
        self.written.append((dict(values), axis, step))

    def close(self, *, failed):
        self.failed = failed


@pytest.fixture
def sink(monkeypatch):
    sink = Recorder()
    monkeypatch.setitem(loggers.TRACKERS, "here", loggers.Tracker("nlbench", lambda plan, folder: sink))
    return sink


def test_rows_of_one_position_come_together_and_nulls_not_at_all(sink, tmp_path):
    with loggers.opened("here", None, tmp_path) as logger:
        logger(Row(0, 1, 1, None, "accuracy", 0.5))
        logger(Row(1, 1, 1, None, "accuracy", 0.0))
        logger(Row(0, 1, 2, None, "accuracy", None))
        logger(Row(0, 1, 1, 96, "accuracy_within", 0.25))
        logger(Row(None, 1, None, None, "seconds.train", 2.0))
    assert sink.written == [
        ({"accuracy/task-1/seed-0": 0.5, "accuracy/task-1/seed-1": 0.0}, "after_task", 1),
        ({"accuracy_within/task-1/seed-0": 0.25}, "samples_seen", 96),
        ({"seconds.train": 2.0}, "after_task", 1),
    ]
    assert sink.failed is False


def test_a_run_that_fails_is_closed_as_failed(sink, tmp_path):
    def interrupted():
        with loggers.opened("here", None, tmp_path) as logger:
            logger(Row(0, 1, 1, None, "accuracy", 0.5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sink.written
    assert sink.failed is True


def test_nothing_is_opened_when_nothing_runs(monkeypatch, tmp_path):
    def refuse(plan, folder):
        raise AssertionError("opened")

    monkeypatch.setitem(loggers.TRACKERS, "here", loggers.Tracker("nlbench", refuse))
    with loggers.opened("here", None, tmp_path):
        pass


def test_an_absent_package_is_one_line_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(loggers.TRACKERS, "wandb", loggers.Tracker("not_installed_anywhere", Recorder))
    with pytest.raises(NlbenchError, match=r"pip install 'nlbench\[wandb\]'") as raised, loggers.opened("wandb", None, tmp_path):
        pass
    assert "\n" not in str(raised.value)


def test_an_unknown_logger_names_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="tensorboard"), loggers.opened("tensorbord", None, tmp_path):
        pass


def test_no_logger_is_no_listener(tmp_path):
    with loggers.opened(None, None, tmp_path) as logger:
        assert logger is None
    seen = []
    loggers.together(None, seen.append, None)(Row(0, 1, 1, None, "accuracy", 0.5))
    assert len(seen) == 1
