"""A run's rows handed on to a tracker people already use, as they are measured. The record stays the result; this is a view."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.metrics import METRICS
from nlbench.plan import Plan
from nlbench.records import Record, Row
from nlbench.records.facts import flatten

Axis = Literal["samples_seen", "after_task"]

FOLDER: Final = "logs"
"""Inside the results folder; a tracker's own environment variables take precedence where it has any."""


class Sink(Protocol):
    """One run in a tracker."""

    def write(self, values: Mapping[str, float], axis: Axis, step: int) -> None:
        """Hand on what was measured at one position."""

    def close(self, *, failed: bool) -> None:
        """Flush and end the run."""


class Logger:
    """A listener that gathers the rows of one position and hands them on together; the tracker is opened by the first row."""

    def __init__(self, start: Callable[[], Sink]) -> None:
        self._start = start
        self._sink: Sink | None = None
        self._position: tuple[Axis, int] = ("after_task", 0)
        self._values: dict[str, float] = {}

    def __call__(self, row: Row) -> None:
        """Take a row; what was not measured is left out."""
        if row.value is None:
            return
        position: tuple[Axis, int] = ("after_task", row.after_task or 0)
        if row.samples_seen is not None:
            position = ("samples_seen", row.samples_seen)
        if position != self._position:
            self._flush()
            self._position = position
        self._values[series(row)] = row.value

    def close(self, *, failed: bool) -> None:
        """Hand on what is left and end the tracker's run."""
        self._flush()
        if self._sink is not None:
            self._sink.close(failed=failed)

    def _flush(self) -> None:
        if self._values:
            self._sink = self._sink or self._start()
            self._sink.write(self._values, *self._position)
            self._values = {}


def series(row: Row) -> str:
    """Return the name of the series a row belongs to, such as `accuracy/task-2/seed-0`."""
    places = [row.metric]
    if row.on_task is not None:
        places.append(f"task-{row.on_task}")
    if row.seed is not None:
        places.append(f"seed-{row.seed}")
    return "/".join(places)


@contextmanager
def opened(tracker: str | None, plan: Plan, results: Path) -> Iterator[Logger | None]:
    """Give a listener for the tracker of that name, None for None; end its run afterwards, as failed if an error passes.

    Raises NlbenchError at once, before anything runs, if the tracker's package is not installed.
    """
    if tracker is None:
        yield None
        return
    if tracker not in TRACKERS:
        raise UnknownNameError("logger", tracker, TRACKERS)
    package, sink = TRACKERS[tracker]
    if find_spec(package) is None:
        raise NlbenchError(f"--log {tracker} needs the package {package}.", f"Install it with: pip install 'nlbench[{tracker}]'")
    logger = Logger(lambda: sink(plan, results / FOLDER))
    failed = True
    try:
        yield logger
        failed = False
    finally:
        logger.close(failed=failed)


def together(*listeners: Callable[[Row], None] | None) -> Callable[[Row], None]:
    """Return a listener that passes each row to all that are not None."""
    present = [listener for listener in listeners if listener is not None]

    def listen(row: Row) -> None:
        for listener in present:
            listener(row)

    return listen


def conclude(logger: Logger | None, record: Record, seeds: tuple[int, ...]) -> None:
    """Send the derived metrics of the seeds that ran, as the record has them."""
    for name, metric in METRICS.items():
        if logger is not None and metric.needs != "references":
            values = record.metric(name)
            for seed in seeds:
                logger(Row(seed, record.n_tasks, None, None, name, values[seed]))


@contextmanager
def _explained(tracker: str, error: type[Exception], hint: str) -> Iterator[None]:
    """Turn a tracker's own error into one line."""
    try:
        yield
    except error as raised:
        raise NlbenchError(f"--log {tracker}: {str(raised).splitlines()[0]}", hint) from raised


_MLFLOW_HINT: Final = "MLFLOW_TRACKING_URI says where it writes; without it, a folder of the results. The same command resumes."


class TensorBoard:
    """Event files in `logs/tensorboard/<record's name>`; the step is samples seen within tasks, tasks learned elsewhere."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard" / plan.record_path(folder).stem))
        self.writer.add_text("run", f"```json\n{json.dumps(plan.describe(), indent=2)}\n```")

    def write(self, values: Mapping[str, float], axis: Axis, step: int) -> None:
        """Write one scalar each."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        """Flush the event file, which knows no failure."""
        self.writer.close()


class Wandb:
    """A run of the project `nlbench` (or WANDB_PROJECT); WANDB_MODE=offline keeps it in `logs/wandb` (or WANDB_DIR)."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        import wandb

        place = Path(os.environ.get("WANDB_DIR", folder))
        place.mkdir(parents=True, exist_ok=True)
        name = f"{plan.model} on {plan.stream_name}"
        project = os.environ.get("WANDB_PROJECT", "nlbench")
        settings = wandb.Settings(quiet=True)
        with _explained("wandb", wandb.Error, "Set WANDB_MODE=offline to keep the run on this machine."):
            self.run = wandb.init(project=project, name=name, config=plan.describe(), dir=place, settings=settings)
        self.run.define_metric("*", step_metric="after_task")
        self.run.define_metric("accuracy_within/*", step_metric="samples_seen")

    def write(self, values: Mapping[str, float], axis: Axis, step: int) -> None:
        """Log one row of the history."""
        self.run.log({**values, axis: step})

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self.run.finish(exit_code=int(failed))


class Mlflow:
    """A run of the experiment `nlbench` (or MLFLOW_EXPERIMENT_NAME), at MLFLOW_TRACKING_URI or in the folder `logs/mlflow`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:
            # since version 3 MLflow refuses plain folders unless told; its databases need more than a reader of a log does
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            place = (folder / "mlflow").absolute().as_uri()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "nlbench")
        with _explained("mlflow", MlflowException, _MLFLOW_HINT):
            self.client = MlflowClient(tracking_uri=place)
            known = self.client.get_experiment_by_name(name)
            experiment = known.experiment_id if known else self.client.create_experiment(name)
            self.run = self.client.create_run(experiment, run_name=f"{plan.model} on {plan.stream_name}").info.run_id
            for key, value in flatten(plan.describe()).items():
                self.client.log_param(self.run, key, value)

    def write(self, values: Mapping[str, float], axis: Axis, step: int) -> None:
        """Log all values in batches; MLflow takes up to 1,000 at once."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        found = [Metric(name, value, 0, step) for name, value in values.items()]
        with _explained("mlflow", MlflowException, _MLFLOW_HINT):
            for start in range(0, len(found), 1000):
                self.client.log_batch(self.run, metrics=found[start : start + 1000])

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


class Tracker(NamedTuple):
    """The package a tracker needs, and its sink."""

    package: str
    sink: Callable[[Plan, Path], Sink]


TRACKERS: Final[dict[str, Tracker]] = {
    "tensorboard": Tracker("tensorboard", TensorBoard),
    "wandb": Tracker("wandb", Wandb),
    "mlflow": Tracker("mlflow", Mlflow),
}
