"""What code a run's identity covers: all that it can reach and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlbench
from nlbench import closure
from nlbench.closure.kept import SyntaxCache
from nlbench.closure.outside import Outside
from nlbench.closure.package import Package
from nlbench.code import Code
from nlbench.plan import resolve

PACKAGE = Path(nlbench.__file__).parent
REACHING = ("random-features", "split-digits")
NAIVE = '[learner]\nkind = "naive"\n[learner.network]\nkind = "mlp"\nhidden = [8]\n'


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, which stands for it."""
    folder = tmp_path / "nlbench"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    read_anew(folder, monkeypatch)
    yield folder
    monkeypatch.undo()
    closure.package_digest.cache_clear()


def read_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SyntaxCache()
    monkeypatch.setattr(closure, "_PACKAGE", Package(folder, cache))
    monkeypatch.setattr(closure, "_OUTSIDE", Outside(closure._PACKAGE, cache))
    closure.package_digest.cache_clear()


def digests(model: str, stream: str) -> dict[str, str]:
    return dict(resolve(model, stream, seeds=(0,)).code.digests)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {part for part in before if before[part] != after[part]}


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_comments_and_docstrings_anywhere_change_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(*REACHING)
    for path in copy.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'^( *)"""(?=\w)', r'\1"""Changed. ', text, count=3, flags=re.MULTILINE)
        path.write_text(f"# a comment\n{text}\n# another\n", encoding="utf-8")
    read_anew(copy, monkeypatch)
    assert digests(*REACHING) == before


def test_code_that_a_run_does_not_reach_changes_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests("mlp", "split-digits")
    for name in ("learners/cms.py", "kernels/chain_step/_numba.py", "nested/rules.py", "streams/whole.py", "records/store.py"):
        assert (copy / name).is_file()
        append(copy / name, "CHANGED = 1\n")
    for name in ("metrics/matrix.py", "cli/run.py", "gate/judging.py", "closure/package.py", "catalog/streams.py", "plan.py"):
        assert (copy / name).is_file()
        append(copy / name, "CHANGED = 1\n")
    for name in ("learners", "streams", "networks"):
        append(copy / name / "config.py", "class MineConfig(Closed):\n    kind: str\n")
    append(copy / "sources" / "pixels.py", "MINE = None\n")
    (copy / "learners" / "mine.py").write_text("x = 1\n")
    read_anew(copy, monkeypatch)
    assert digests("mlp", "split-digits") == before


EVERYWHERE = {"learner", "protocol", "stream", "source"}


@pytest.mark.parametrize(
    ("name", "old", "new", "parts"),
    [
        ("kernels/memory_scan/_triton_backward.py", "", "X = 1", {"learner"}),
        ("kernels/metric_update/_numba.py", "", "X = 1", {"learner"}),
        ("kernels/metric_update/reference.py", "", "X = 1", {"learner"}),
        ("nested/rules.py", "", "X = 1", {"learner"}),
        ("streams/split.py", "", "X = 1", {"stream"}),
        ("streams/config.py", '] = "natural"', '] = "seed"', {"stream"}),
        ("sources/pixels.py", "brightest=16", "brightest=17", {"source"}),
        ("protocol/schedule.py", "WITHIN_SAMPLES: Final = 500", "WITHIN_SAMPLES: Final = 400", {"protocol"}),
        ("batch.py", "", "X = 1", {"learner", "protocol"}),
        ("seeds.py", "FIXED = -1", "FIXED = -2", EVERYWHERE),
    ],
)
def test_a_change_of_whatever_a_run_reaches_is_seen(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, parts: set[str]
) -> None:
    before = digests(*REACHING)
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new) if old else f"{text}\n{new}\n", encoding="utf-8")
    read_anew(copy, monkeypatch)
    assert changed(before, digests(*REACHING)) == parts


@pytest.mark.parametrize(
    "name",
    [
        *(f"learners/{name}.py" for name in ("building", "external", "adapter", "generators")),
        *("specs/external.py", "streams/building.py", "runner/preparing.py", "protocol/feed.py"),
    ],
)
def test_what_stands_around_a_learner_of_one_s_own_is_in_its_code(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "mine.py").write_text("import nlbench\nclass Mine(nlbench.Learner): ...\n")
    before = digests(f"{tmp_path}/mine.py:Mine", "split-digits")
    for unseen in ("closure/package.py", "plan.py", "records/store.py", "runner/keeping.py", "learners/gradient.py"):
        append(copy / unseen, "X = 1\n")
    read_anew(copy, monkeypatch)
    assert digests(f"{tmp_path}/mine.py:Mine", "split-digits") == before
    append(copy / name, "X = 1\n")
    read_anew(copy, monkeypatch)
    assert "learner" in changed(before, digests(f"{tmp_path}/mine.py:Mine", "split-digits"))


def test_what_stands_around_a_stream_of_one_s_own_is_in_its_code(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from nlbench.streams.stream import Stream\nclass Mine(Stream): ...\n")
    parts = (("stream", "streams", f"{mine}:Mine"),)
    before = dict(Code.of(parts).digests)
    append(copy / "streams" / "building.py", "X = 1\n")
    read_anew(copy, monkeypatch)
    assert changed(before, dict(Code.of(parts).digests)) == {"stream"}


def test_a_learner_s_own_network_is_a_part(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "naive.toml").write_text(NAIVE)
    before = digests(str(tmp_path / "naive.toml"), "split-digits")
    assert before.keys() == {"protocol", "stream", "source", "learner", "network"}
    append(copy / "networks" / "mlp.py", "X = 1\n")
    append(copy / "networks" / "resnet18.py", "X = 1\n")
    read_anew(copy, monkeypatch)
    assert changed(before, digests(str(tmp_path / "naive.toml"), "split-digits")) == {"network"}


OWN = """
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.learners.naive import Naive
class Mine(Naive):
    Config = NaiveConfig
"""
BUILT = 'kind = "module", build = "{0}/net.py:build"'


@pytest.mark.parametrize(
    ("table", "edited", "parts"),
    [
        (f"network = {{ {BUILT} }}", "net.py", {"module"}),
        (f"network = {{ {BUILT} }}", "nlbench/networks/module.py", {"learner", "network", "module"}),
        ('network = { kind = "{0}/net.py:build" }', "net.py", {"network"}),
        ('network = { kind = "resnet18" }', "nlbench/networks/resnet18.py", {"network"}),
        (f"teachers = [{{ {BUILT} }}]", "net.py", {"module.teachers.0"}),
        ("", "nlbench/networks/mlp.py", {"learner"}),
        ("", "nlbench/networks/resnet18.py", set()),
    ],
)
def test_the_network_of_a_learner_of_one_s_own_is_in_its_code(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, edited: str, parts: set[str]
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "net.py").write_text("def build(): ...\n")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'[learner]\nkind = "{tmp_path}/mine.py:Mine"\n{table.replace("{0}", str(tmp_path))}\n')
    before = digests(str(recipe), "split-digits")
    append(tmp_path / edited, "X = 1\n")
    read_anew(copy, monkeypatch)
    assert changed(before, digests(str(recipe), "split-digits")) == parts


WATCHED = """
import os
import sys
import nlbench
from nlbench import catalog
from nlbench.closure import _PACKAGE
from nlbench.plan import resolve
model, results, backend = sys.argv[1:]
plan = resolve(model, "split-digits", seeds=(0,))
roots = ["nlbench.protocol", *(place for _, group, kind in plan.parts for place in catalog.modules(group, kind))]
print(*{node.partition(":")[0] for node in _PACKAGE.reached(roots)})
called = set()
def watch(frame, event, argument):
    if event == "call" and frame.f_code.co_flags & 1:  # a function, not the body of a module or a class
        called.add(frame.f_globals.get("__name__", ""))
for profile in (None, watch):  # at first all that is imported is
    sys.setprofile(profile)
    nlbench.run(model, "split-digits", seeds=1, results=results, backend=backend, force=True)
sys.setprofile(None)
print(*called, flush=True)
os._exit(0)  # threads that were profiled may end badly
"""
RUNNING = ("batch", "seeds", "state", "protocol", "streams", "sources", "learners", "networks", "nested", "kernels", "specs")
BEFORE_A_RUN = {
    *("learners.building", "streams.building", "kernels.threads"),
    *(f"specs.{name}" for name in ("kinds", "learners", "loading", "placing", "problems", "recipes")),
}
"""What makes a declaration into what runs, and decides no number itself."""


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        *(("hope", "auto"), ("naive", "auto")),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("hope-attention", "auto"), ("cms", "reference"))),
    ],
)
def test_whatever_is_called_during_a_run_is_in_its_closure(tmp_path: Path, model: str, backend: str) -> None:
    (tmp_path / "naive.toml").write_text(NAIVE)
    named = str(tmp_path / "naive.toml") if model == "naive" else model
    command = [sys.executable, "-c", WATCHED, named, str(tmp_path / "results"), backend]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    counted, called = ({name.removeprefix("nlbench.") for name in line.split()} for line in answer.stdout.splitlines())
    learned = {name for name in called if name.partition(".")[0] in RUNNING}
    assert {"protocol.loop", "streams.split", "learners.gradient" if model == "naive" else "batch"} <= learned
    assert learned - counted - BEFORE_A_RUN == set()


def test_a_module_that_is_imported_by_a_name_made_at_run_time_is_accounted_for() -> None:
    """Import statements are followed; what else imports is listed here, with what stands for it."""
    accounted = {
        "bench/peers.py": "other projects, which no run uses",
        "catalog/__init__.py": "the parts of a run, which are its roots",
        "closure/loading.py": "a user's own, found by their own closure",
        "kernels/backends.py": "the modules of an op, all of which count where one does",
        "kernels/compiler_process.py": "the kernels that another process has imported",
        "lazy.py": "tables of names, read where they stand",
    }
    importing = re.compile(r"import_module|__import__|spec_from_file_location|exec_module|runpy|\bexec\(")
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if importing.search(path.read_text(encoding="utf-8"))
    }
    assert found == accounted.keys()


def test_what_disturbs_a_stream_is_part_of_it_and_of_no_other() -> None:
    assert "disturbances" in nlbench.resolve("mlp", "blurred-permuted-digits-10", seeds=1).code.digests
    assert "disturbances" not in nlbench.resolve("mlp", "permuted-digits", seeds=1).code.digests
