"""The scripts in tools/ that make pages and references: they load, and what they would run resolves."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_loads_and_says_how_it_is_called(name):
    assert f"tools/{name}.py" in tool(name).__doc__


def test_no_script_is_left_among_the_pages():
    assert not list((ROOT / "docs").rglob("*.py"))


def test_every_row_of_the_ablations_is_another_plan():
    ablations = tool("ablations")
    for stream, rows in ablations.ABLATIONS.items():
        plans = [ablations.resolved(model, stream, changes) for _, model, changes in rows]
        assert len({(plan.model, plan.learner.digest, plan.batch) for plan in plans}) == len(rows), stream
        assert f"<!-- {stream} -->" in ablations.PAGE.read_text(encoding="utf-8")


def test_every_candidate_of_the_searches_resolves():
    tune_recipes = tool("tune_recipes")
    import nlbench

    pairs = [(model, stream) for stream in tune_recipes.TASKS for model in tune_recipes.SPACES]
    for model, stream in (pair for pair in pairs if pair not in tune_recipes.NOT_ON):
        space = tune_recipes.space_of(model, stream)
        last = {key: values[-1] for key, values in space.items()}
        assert nlbench.resolve(model, stream, seeds=1, overrides=last).learner.digest


def test_performance_has_a_place_for_every_part():
    make_performance = tool("make_performance")
    for page in (make_performance.PAGE, make_performance.NOTES):
        marks = re.findall(r"^<!-- ([\w-]+) -->$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert sorted(marks) == sorted(name for name, (place, _) in make_performance.PARTS.items() if place == page)
    assert len(make_performance.PAGE.read_text(encoding="utf-8").splitlines()) <= 80


def test_a_part_of_performance_replaces_what_stood_between_its_marks(tmp_path, monkeypatch):
    make_performance = tool("make_performance")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- growth -->\nold\n<!-- /growth -->\nafter\n", encoding="utf-8")
    monkeypatch.setitem(make_performance.PARTS, "growth", (page, lambda: "new"))
    make_performance.write("growth")
    assert page.read_text(encoding="utf-8") == "before\n<!-- growth -->\nnew\n<!-- /growth -->\nafter\n"


def test_the_table_of_optimizers_has_a_row_for_every_rate():
    make_seeds_table = tool("make_seeds_table")
    (table,) = re.findall(r"<!-- digits -->\n(.*)<!-- /digits -->", make_seeds_table.PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert [line.split("|")[1].strip() for line in table.splitlines()[4:]] == list(make_seeds_table.RATES)


@pytest.mark.parametrize(("what", "count"), [("parquet", 150), ("toml", 100), ("flips", 100), ("checkpoints", 150)])
def test_broken_files_are_read_or_refused_in_one_line(what, count, tmp_path):
    found = tool("fuzz_files").fuzz(what, count, 7, tmp_path)
    assert found.keys() <= {"read", "refused"}
    assert found["refused"] > count / 2
    assert sum(found.values()) == count


def test_the_page_of_data_sets_is_what_the_catalog_says():
    make_data_page = tool("make_data_page")
    assert make_data_page.table() in make_data_page.PAGE.read_text(encoding="utf-8"), "python tools/make_data_page.py"


def test_a_line_is_found_where_there_is_one():
    """Ridge over random features tells two sides of a line apart."""
    import numpy as np

    ceilings = tool("measure_ceilings")
    rng = np.random.Generator(np.random.Philox(3))
    ceilings.WIDTH = 200
    inputs = rng.standard_normal((600, 2)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    for modality in ("tables", "text"):
        x = ceilings.features(inputs, modality)
        weights = ceilings.fitted(x[:400], labels[:400], 10.0)
        assert x.shape == (600, 200)
        assert ((x[400:] @ weights).argmax(1) == labels[400:]).mean() > 0.9
