"""The scripts in tools/ that make pages and references: they load, and what they would run resolves."""

from __future__ import annotations

import importlib.util
import re
import time
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


def test_every_row_beside_hope_is_another_plan():
    measure = tool("measure_hope")
    for name in measure.SETTINGS:
        plans = [measure.resolved(name, row) for row in measure.rows(name).values()]
        assert len({(plan.model, plan.learner.digest, plan.batch) for plan in plans}) == len(plans), name
    page = measure.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in page and f"<!-- /{name} -->" in page for name in measure.TABLES)


def test_a_part_stays_where_it_gains_on_two_streams_and_no_cost_is_left_open():
    verdict = tool("measure_hope").verdict
    gains, ten, neutral, costs = "**+.0020 ± .0010**", "**+.0021 ± .0006** (10)", "neutral", "+.0000 ± .0030"
    assert verdict([gains, ten, neutral, "+.0000 ± .0019"]) == "yes: gains on 2, a cost not excluded on 0 of 4"
    assert verdict([gains, ten, "-.0010 ± .0010"]) == "no: gains on 2, a cost not excluded on 1 of 3"
    assert verdict(["", "not there"]) == "not measured"
    assert verdict([gains, neutral, "+.0020 ± .0020", "+.0009 ± .0001"]).startswith("no: gains on 1")
    assert verdict([gains, gains, costs]) == "no: gains on 2, a cost not excluded on 1 of 3"


def test_rows_without_a_record_stay_as_the_page_has_them():
    measure = tool("measure_hope")
    parts, rivals = measure.TABLES["parts"], measure.TABLES["rivals"]
    lines = measure.PAGE.read_text(encoding="utf-8").splitlines()

    def between(name):
        return lines[lines.index(f"<!-- {name} -->") + 1 : lines.index(f"<!-- /{name} -->")]

    for name, table in measure.TABLES.items():
        assert measure.renewed(table, between(name), []) == between(name), name
    count = len(measure.PARTS)
    before = measure.renewed(parts, [], [["R52", "10", *["+.0030 ± .0001"] * count]])
    fresh = [["R52", "5", "", *["+.0040 ± .0001"] * (count - 1)], ["split-digits", "5", *["neutral"] * count]]
    found = [measure.cells_of(line) for line in measure.renewed(parts, before, fresh)]
    assert [cells[:4] for cells in found[2:4]] == [
        ["split-digits", "5", "neutral", "neutral"],
        ["R52", "5", "+.0030 ± .0001 (10)", "+.0040 ± .0001"],
    ]
    assert found[4][:3] == [measure.VERDICT, "", "no: gains on 1, a cost not excluded on 0 of 2"]
    row = ["R52", "RanPAC", ".9", ".1", "1.0", "**+.1000 ± .0010**", "wins"]
    found = measure.renewed(rivals, measure.renewed(rivals, [], [row]), [["R52", "OWM", *row[2:5], "-.0100 ± .0200", "tie"]])
    assert [line.split(" | ")[1] for line in found[2:]] == ["OWM", "RanPAC"]


def test_parts_are_paired_by_seed_and_corrected_within_a_stream():
    measure = tool("measure_hope")

    class Measured:
        def __init__(self, accuracy):
            self.accuracy = accuracy

        def metric(self, name):
            return self.accuracy if name == "average_accuracy" else {}

    seeds = range(6)
    full = Measured({seed: 0.9 + 0.01 * seed for seed in seeds})
    less = Measured({seed: 0.9 + 0.01 * seed - 0.002 - 0.0001 * seed for seed in (*seeds, 9)})
    found = measure.compared(full, {"less": less, "same": full})
    own, p = found["less"]
    assert (own.n, own.mean) == (6, pytest.approx(0.00225))
    assert p == pytest.approx(2 * 2 / 2**6)  # of both signs of six alike, twice as there are two tests
    assert measure.gain(found["less"]).startswith("+.0022 ± ")
    assert measure.gain(found["same"]) == "neutral"


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


def test_steps_over_tokens_are_compared_before_they_are_timed(monkeypatch):
    sequences = tool("measure_sequences")
    monkeypatch.setattr(sequences, "HEAD", 4)
    *head, attention, titans, hope = sequences.lines("cpu", ["8x2x6x2"], time.process_time)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head[0], attention, titans, hope)]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    assert [row["network"] for row in rows] == ["attention", "titans", "hope"]
    assert [bool(row["eager ms"]) for row in rows] == [False, True, True]
    assert float(rows[2]["times eager"]) == pytest.approx(float(rows[2]["eager ms"]) / float(rows[2]["kernels ms"]), rel=0.02)
    monkeypatch.setattr(sequences, "AGREES", 0.0)
    with pytest.raises(SystemExit, match="titans 8x2x6x2: the kernels and plain torch disagree"):
        list(sequences.lines("cpu", ["8x2x6x2"], time.process_time))


def test_simulated_sweeps_take_what_can_be_said_without_simulating():
    scale = tool("simulate_scale")
    alike = scale.Cluster(cells=100, nodes=4, workers=2, cell=60.0, spread=0.0, cold=10.0, dispatch=0.0)
    assert scale.simulate(alike) == scale.Result(10.0 + 13 * 60.0, 100 * 60.0 / (790.0 * 8), 0, 0)  # 13 rounds of 8
    driven = scale.simulate(alike._replace(cell=1e-9, cold=0.0, dispatch=0.5))
    assert driven.seconds == pytest.approx(50.0)  # one after another is sent
    slow = scale.simulate(alike._replace(slow=1.0, by=3.0))
    assert slow.seconds == 10.0 + 13 * 180.0


def test_simulated_losses_cost_what_was_not_saved_and_no_cell_is_tried_for_ever():
    scale = tool("simulate_scale")
    lossy = scale.Cluster(cells=400, nodes=4, workers=2, cell=60.0, spread=0.0, dispatch=0.0, lost_every=600.0, checkpoint=1e9)
    found, saved = scale.simulate(lossy), scale.simulate(lossy._replace(checkpoint=1.0))
    assert 20 < found.lost < 60  # 400 minutes of cells, a loss every ten
    assert saved.seconds < found.seconds
    page = scale.PAGE.read_text(encoding="utf-8")
    assert all(f"\n| {name} | " in page for name in scale.CASES), "python tools/simulate_scale.py --write"
    hopeless = scale.simulate(lossy._replace(cells=10, lost_every=0.001))
    assert (hopeless.failed, hopeless.lost) == (10, 10 * 3)


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
