"""Tiny streams, learners that note what they are shown, and a made data set in MNIST's format, for tests of the running half."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlbench import Batch, Learner, Problem, catalog, protocol
from nlbench.learners.cms import Cms
from nlbench.learners.config import CmsConfig, MlpConfig
from nlbench.learners.mlp import Mlp
from nlbench.plan import DeclaredStream, resolve, stream_from_arrays
from nlbench.protocol import evaluate_stream
from nlbench.records import Record, Row
from nlbench.sources import Source
from nlbench.sources.idx import MNIST
from nlbench.specs import stream_spec
from nlbench.streams.building import build
from nlbench.streams.stream import Stream

CPU = torch.device("cpu")


def small_tasks(
    n_tasks: int = 3,
    *,
    n_train: Sequence[int] | int = 40,
    n_test: Sequence[int] | int = 20,
    dim: int = 6,
    shared_labels: bool = False,
) -> list[tuple[np.ndarray, ...]]:
    """Return tasks of two classes each; every input is unique, so that a sample can be recognised by its values."""
    rng = np.random.Generator(np.random.Philox(5))
    sizes, tested = ([n] * n_tasks if isinstance(n, int) else list(n) for n in (n_train, n_test))
    tasks = []
    for task, (size, test_size) in enumerate(zip(sizes, tested, strict=True)):
        first = 0 if shared_labels else 2 * task
        parts: list[np.ndarray] = []
        for n in (size, test_size):
            labels = first + np.arange(n) % 2
            centres = np.stack([np.cos(np.arange(dim) * (label + 1)) for label in range(first + 2)])
            parts += [(centres[labels] + 0.5 * rng.standard_normal((n, dim))).astype(np.float32), labels]
        tasks.append(tuple(parts))
    return tasks


def small_stream(
    name: str = "small", *, scenario: str = "class-il", batch: int = 8, tasks: Any = None, **protocol: Any
) -> DeclaredStream:
    """Return a declared stream of small tasks; labels are shared by the tasks of domain-il."""
    return stream_from_arrays(
        name, tasks or small_tasks(shared_labels=scenario == "domain-il"), scenario=scenario, batch=batch, **protocol
    )


def running(declared: DeclaredStream, seeds: Sequence[int] = (0,)) -> Stream:
    """Return the running form of a declared stream on the CPU."""
    return build(declared, seeds, CPU)


def declared_stream(
    kind: str, seeds: Sequence[int] = (0,), *, source: str = "digits", protocol: dict[str, Any] | None = None, **stream: Any
) -> Stream:
    """Return a running stream cut from a data set."""
    table = {"title": kind, "stream": {"kind": kind, "source": source, **stream}, "protocol": {"batch": 16, **(protocol or {})}}
    spec = stream_spec(table, kind)
    return build(DeclaredStream(kind, spec, spec.stream.found), seeds, CPU)


def problem_of(stream: Stream, *, steps: int = 1000) -> Problem:
    """Return what a learner is told about a running stream."""
    return protocol.problem_of(stream, steps=steps, backend="auto")


def mlp(stream: Stream, *, hidden: tuple[int, ...] = (16,), momentum: float = 0.0, rate: float = 0.1) -> Mlp:
    """Return a small MLP for a running stream."""
    return Mlp(MlpConfig(kind="mlp", hidden=hidden, momentum=momentum, rate=rate), problem_of(stream))


def cms(stream: Stream) -> Cms:
    """Return a small continuum memory of periods 1 and 3 for a running stream."""
    return Cms(CmsConfig(kind="cms", width=8, hidden=8, periods=(1, 3)), problem_of(stream))


def smaller(recipe: str, stream: str) -> dict[str, str]:
    """Return overrides that make a recipe small, quick enough in its periods for a short stream, and told the task if need be."""
    recipe_of = resolve(recipe, stream, seeds=(0,)).learner
    needed = catalog.needs(recipe_of.learner.kind)
    return {
        **({"stream.scenario": "task-il"} if "task" in needed else {}),
        **({"protocol.passes": "1"} if recipe_of.passes else {}),
        **_smaller(recipe_of.learner),
    }


def _smaller(config: Any) -> dict[str, str]:
    """Return overrides that make a learner small."""
    if config.kind == "mlp":
        return {"learner.hidden": "[32]"}
    if config.kind == "in-context":
        return {"learner.window": "20"}
    if hasattr(config, "network") and config.network.kind == "sequence":
        tokens = {} if config.network.context == "stream" else {"learner.network.tokens": "2"}
        return {"learner.network.periods": "[1, 4, 16]", "learner.network.width": "16", **tokens}
    if hasattr(config, "network"):
        sizes = {"mlp": ("hidden", "[32]"), "convolutional": ("channels", "[4]")}
        key, value = sizes.get(config.network.kind, ("width", "48"))
        # of owm a rate for narrow layers: at its own, of wide ones, rounding grows from step to step
        rate = {"learner.optimizer": '{kind="sgd", rate=0.5}'} if config.kind == "owm" else {}
        fewer = {"gdumb": {"learner.passes": "7"}, "dgr": {"learner.hidden": "[48]", "learner.latent": "8"}}
        return {
            "learner.network": f'{{kind="{config.network.kind}", {key}={value}}}',
            **rate,
            **fewer.get(config.kind, {}),
        }  # whole: its kind may differ elsewhere
    if config.kind == "pec":
        return {"learner.teacher_width": "40"}
    if config.kind == "cms":
        return {"learner.periods": "[1, 4, 16]", "learner.hidden": "48"}
    if config.kind == "hope":
        return {"learner.width": "45"}
    if config.kind != "projected":
        return {}
    levels = [f"{{period={level.period}, width=24, rate={level.rate}, ridge={level.ridge}}}" for level in config.levels]
    keys = {"random": {"learner.keys.width": "48"}, "convolution": {"learner.keys.filters": "[4, 8]"}}.get(config.keys.kind, {})
    return {**keys, **({"learner.levels": f"[{', '.join(levels)}]"} if levels else {})}


def rows_of(learner: Learner, stream: Stream, *, batch: int | None = None, presents: str = "sequential") -> list[Row]:
    """Return all rows of a run."""
    with torch.no_grad():
        size = batch or stream.spec.protocol.batch
        return list(evaluate_stream(learner, stream, batch=size, presents=presents))


def values(rows: Sequence[Row], metric: str, seed: int | None = 0) -> dict[tuple[int | None, int | None], float | None]:
    """Return {(after_task, on_task): value} of a metric of one seed."""
    return {(row.after_task, row.on_task): row.value for row in rows if row.metric == metric and row.seed == seed}


def untimed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that must be the same in every execution."""
    return [row for row in rows if not row.metric.startswith("seconds.")]


def rows_by_seed(record: Record) -> list[Row]:
    """Return all rows but timings, in an order that does not depend on which seeds ran when."""
    columns = record.to_pandas()[list(Row._fields)]
    return sorted(
        untimed([Row(*row) for row in columns.astype(object).where(columns.notna(), None).itertuples(index=False)]), key=str
    )


class Spy(Learner):
    """Learns nothing and notes everything it is shown; `predict` returns label 0 with the largest logit."""

    def __init__(self, config: Any, problem: Problem) -> None:
        self.problem = problem
        self.batches: list[Batch] = []
        self.events: list[str] = []
        self.predicted: list[tuple[Tensor, int | None]] = []

    def observe(self, batch: Batch) -> Tensor:
        self.batches.append(batch)
        self.events.append("observe")
        return torch.zeros(len(self.problem.seeds))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        self.predicted.append((inputs, task))
        self.events.append("predict")
        logits = torch.zeros(len(self.problem.seeds), inputs.shape[1], self.problem.n_classes)
        logits[..., 0] = 1.0
        return logits

    def end_task(self) -> None:
        self.events.append("end_task")

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        self.events.append("load")


def bytes_digest(batches: Sequence[Batch], seed_index: int = 0) -> str:
    """Return a digest of everything in the batches that one seed was shown."""
    content = blake2b()
    for batch in batches:
        inputs, labels = batch.inputs[seed_index], batch.labels[seed_index]
        for part in (
            inputs.contiguous().numpy().tobytes(),
            labels.contiguous().numpy().tobytes(),
            batch.classes.numpy().tobytes(),
        ):
            content.update(part)
        content.update(f"{tuple(inputs.shape)} {batch.task}".encode())
    return content.hexdigest()


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def made_mnist(folder: Path, *, side: int = 6, n_train: int = 300, n_test: int = 100, packed: bool = False) -> Source:
    """Write a small data set in MNIST's format below `folder` and return its declaration: blurred, noisy bars of ten kinds."""
    rng = np.random.Generator(np.random.Philox(7))
    prototypes = rng.integers(0, 256, (10, side, side))
    arrays = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(n) % 10
        arrays[f"{part}-images-idx3-ubyte"] = np.clip(prototypes[labels] + rng.normal(0, 60, (n, side, side)), 0, 255).astype(
            np.uint8
        )
        arrays[f"{part}-labels-idx1-ubyte"] = labels
    place = folder / MNIST.folder
    place.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if packed:
            (place / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
        else:
            (place / name).write_bytes(idx_bytes(array))
    pixels = arrays["train-images-idx3-ubyte"] / 255
    checksums = {name: sha256(idx_bytes(array)).hexdigest() for name, array in arrays.items()}
    return replace(MNIST, input_shape=(1, side, side), files=checksums, mean=float(pixels.mean()), std=float(pixels.std()))
