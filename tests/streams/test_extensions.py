"""Stream kinds and sources of a user's own, in files and as entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import nlbench
from nlbench import catalog
from nlbench.errors import NlbenchError, SpecError
from nlbench.plan import Plan, resolve

FILE = '''
import numpy as np
import torch

from nlbench import Stream
from nlbench.sources import Arrays, Source, read
from nlbench.streams.config import SourceConfig
from nlbench.streams.stream import Samples


class Blobs(Source):
    def read(self, data=None):
        labels = np.arange(40) % 2
        inputs = np.float32(labels[:, None] + np.zeros((40, 3)))
        return Arrays(inputs, labels, inputs.copy(), labels)


BLOBS = Blobs(name="blobs", title="two blobs", kind="vector", input_shape=(3,), n_classes=2)


class Shifted(Stream):
    """Task i is the whole data set, moved by (i - 1) * shift."""

    class Config(SourceConfig):
        tasks: int = 2
        scenario: str = "domain-il"
        shift: float = 1.0

    def __init__(self, declared, seeds, device, data=None):
        super().__init__(declared, seeds, device, data)
        self.input_shape, self.n_classes = declared.source.input_shape, declared.source.n_classes
        self.arrays = read(declared.source, data)

    def _samples(self, inputs, labels, task):
        moved = torch.from_numpy(inputs).to(self.device) + (task - 1) * self.spec.stream.shift
        labels = torch.from_numpy(labels).to(self.device)
        return Samples(moved, torch.arange(len(labels), device=self.device)[None], labels[None], start=0)

    def train(self, task):
        return self._samples(self.arrays.train_inputs, self.arrays.train_labels, task)

    def test(self, task):
        return self._samples(self.arrays.test_inputs, self.arrays.test_labels, task)

    def task_classes(self, task):
        return torch.ones(self.n_classes, dtype=torch.bool, device=self.device)


class Bare(Shifted):
    Config = None
'''

STREAM = 'title = "t"\n[stream]\nkind = "./mine.py:Shifted"\nsource = "{source}"\n{more}[protocol]\nbatch = 8\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def declared(source: str = "./mine.py:BLOBS", more: str = "") -> Plan:
    Path("s.toml").write_text(STREAM.format(source=source, more=more))
    return resolve("mlp", "./s.toml", seeds=(0,))


def test_a_kind_and_a_source_of_a_file_are_declared_run_and_recorded() -> None:
    plan = declared(more="tasks = 3\nshift = 0.5\n")
    assert (plan.stream.stream.tasks, plan.stream.stream.shift, plan.declared.what) == (3, 0.5, "./mine.py:Shifted/blobs")
    done = nlbench.run("mlp", "./s.toml", seeds=1, results="r", device="cpu")
    assert done.record.footer.data == {"blobs": plan.declared.source.checksum}
    assert done.record.footer.n_tasks == 3
    assert nlbench.run("mlp", "./s.toml", seeds=1, results="r", device="cpu").seeds_run == ()
    assert nlbench.resolve("mlp", "./s.toml", seeds=1, overrides={"stream.shift": "0.25"}).fingerprint != plan.fingerprint


def test_a_kind_of_ones_own_on_a_source_of_ours_and_the_other_way_round() -> None:
    assert declared(source="digits").declared.source.name == "digits"
    Path("s.toml").write_text(
        'title = "t"\n[stream]\nkind = "split"\nsource = "./mine.py:BLOBS"\ntasks = 2\n[protocol]\nbatch = 8\n'
    )
    done = nlbench.run("mlp", "./s.toml", seeds=1, results="r", device="cpu")
    assert done.record.footer.data.keys() == {"blobs"}


def test_what_is_wrong_with_a_declaration_of_it_is_told_as_of_ours() -> None:
    with pytest.raises(SpecError) as caught:
        declared(source="mnits", more="shft = 1.0\n")
    lines = sorted(caught.value.problems)
    assert [line.split(": ")[1] for line in lines] == ["stream.shft", "stream.source"]
    assert "did you mean shift?" in lines[0]
    Path("s.toml").write_text(STREAM.format(source="digits", more="").replace("Shifted", "Bare"))
    with pytest.raises(NlbenchError, match=r"mine\.py:Bare: its Config must extend nlbench.specs.streams.StreamConfig, got None"):
        resolve("mlp", "./s.toml", seeds=(0,))


def test_a_registered_kind_and_source_are_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_plugin.py").write_text(FILE)
    kind = EntryPoint("shifted", "my_plugin:Shifted", "nlbench.streams")
    source = EntryPoint("blobs", "my_plugin:BLOBS", "nlbench.sources")
    monkeypatch.setattr(catalog, "entry_points", lambda: EntryPoints([kind, source]))
    assert "shifted" in catalog.extensions("streams")
    assert "blobs" in catalog.extensions("sources")
    Path("s.toml").write_text('title = "t"\n[stream]\nkind = "shifted"\nsource = "blobs"\n[protocol]\nbatch = 8\n')
    done = nlbench.run("mlp", "./s.toml", seeds=1, results="r", device="cpu")
    assert done.record.footer.stream_spec["stream"]["shift"] == 1.0
