"""Every data set that a stream of the catalog is cut from, as it is: two steps learned from the real thing where it is here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_streams import CPU, mlp

from nlbench import Batch, catalog, sources
from nlbench.plan import DeclaredStream
from nlbench.specs import read_table, stream_spec
from nlbench.streams.building import build
from nlbench.streams.looking import faults

OLD = ("digits", "mnist", "fashion-mnist")
"""Learned from in many a test."""


def _streams() -> list[object]:
    """Return the shortest stream of each data set; those that take long to read are slow."""
    declared = {name: read_table(catalog.find("stream", name))["stream"] for name in catalog.names("stream")}
    chosen = {table["source"]: name for name, table in declared.items() if table["source"] not in OLD}
    slow = pytest.mark.slow
    return [
        pytest.param(name, marks=slow if source.endswith("-wordllama") or source == "newsgroups" else ())
        for source, name in chosen.items()
    ]


@pytest.mark.parametrize("name", _streams())
def test_a_stream_of_real_data_has_its_classes_in_both_parts_and_is_learned_from(name: str) -> None:
    spec = stream_spec(read_table(catalog.find("stream", name)), name)
    found = spec.stream.found
    if found.files and not found.locate():
        pytest.skip(f"needs {found.name}: `nlbench data fetch {found.name}`")
    stream = build(DeclaredStream(name, spec, found), (0,), CPU)
    for task in range(1, stream.n_tasks + 1):
        train, test = (set(np.unique(part.labels)) for part in (stream.train(task), stream.test(task)))
        assert test <= train
        assert stream.task_classes(task)[list(train)].all()
        assert stream.chance(task).max() < 1  # two labels at least, however unequal
    known = "samples are training samples too" if found.modality in ("text", "tables") else "no fault"
    assert [fault for fault in faults(stream) if known not in fault] == []  # some texts and letters were published twice
    learner, samples = mlp(stream, rate=0.01), stream.train(1)
    order = stream.presentation("1/0", len(samples))[:, : 2 * spec.protocol.batch]
    with torch.no_grad():
        for inputs, labels in samples.batches(order, spec.protocol.batch):
            assert torch.isfinite(learner.observe(Batch(inputs, labels, stream.competing(1, 1), None))).all()
        inputs, _ = next(stream.test(1).blocks(5))
        assert torch.isfinite(learner.predict(inputs, None)).all()


def test_at_least_twenty_streams_of_ten_sources_and_four_modalities_need_no_web() -> None:
    tables = {name: read_table(catalog.find("stream", name))["stream"] for name in catalog.names("stream")}
    offline = {name: sources.find(table["source"]) for name, table in tables.items()}
    offline = {name: source for name, source in offline.items() if not source.files or _held_by_a_package(source)}
    others = {name: source for name, source in offline.items() if "digits" not in source.title.lower()}
    assert len(others) >= 14
    assert len(offline) >= 20
    assert len({source.name for source in offline.values()}) >= 10
    assert len({source.modality for source in offline.values()}) >= 4


def _held_by_a_package(source: sources.Source) -> bool:
    return any(supplier.way.startswith(("PyPI", "Debian")) for supplier in source.suppliers)
