"""A cell is what a plan lacks; a worker runs it, leaves diverged seeds out and says so, and refuses other code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from diverging import ODD
from small_streams import small_stream

import nlbench
from nlbench.errors import NlbenchError, RecordError
from nlbench.plan import Machine
from nlbench.records import read_record
from nlbench.sweep import cells
from nlbench.sweep.cells import Cell, CellWork, Divergences, OnDivergence

CPU = Machine(device="cpu")
STREAM = small_stream()


@pytest.fixture
def odd(tmp_path: Path) -> str:
    (tmp_path / "odd.py").write_text(ODD)
    return f"{tmp_path / 'odd.py'}:Odd"


def test_a_cell_lacks_what_is_neither_recorded_nor_diverged(tmp_path: Path) -> None:
    plan = nlbench.resolve("mlp", STREAM, seeds=5)
    CellWork(replace(plan, seeds=(1,)), tmp_path, CPU, False, "mask").perform()
    Divergences.of(plan, tmp_path).add({3: "task 1, step 2: the loss is nan"})
    Divergences.of(plan, tmp_path).add({4: "task 1, step 1: the loss is inf"})
    cell = Cell.of(plan, tmp_path)
    assert (cell.missing, list(cell.diverged)) == ((0, 2), [3, 4])
    assert Cell.of(replace(plan, seeds=(0, 3)), tmp_path).diverged == {3: "task 1, step 2: the loss is nan"}
    assert Cell.of(plan, tmp_path, force=True).missing == plan.seeds
    Divergences.of(plan, tmp_path).path.write_text("[3]")
    with pytest.raises(RecordError, match=r"does not say which seeds diverged\. Remove it"):
        Cell.of(plan, tmp_path)


def test_seeds_are_dealt_out_evenly() -> None:
    cell = Cell(nlbench.resolve("mlp", STREAM, seeds=7), tuple(range(7)), {})
    assert cell.parts(1) == [tuple(range(7))]
    assert cell.parts(3) == [(0, 1), (2, 3), (4, 5, 6)]
    assert cell.parts(99) == [(seed,) for seed in range(7)]


@pytest.mark.parametrize(
    ("saved", "missing", "parts"),
    [
        ((0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5), [(0, 1, 2, 3, 4, 5)]),
        ((0, 1, 2), (0, 1, 2, 3, 4, 5), [(0, 1, 2), (3, 4, 5)]),
        ((2, 3), (2, 3, 4, 5), [(2, 3), (4, 5)]),  # of three parts, the first is recorded
        ((3, 5), (3, 5), [(3, 5)]),  # 4 diverged
        ((4, 5), (2, 4, 5), [(2,), (4, 5)]),
        ((1, 2), (0, 1, 2, 3, 4, 5), []),  # as no sweep deals them out
    ],
)
def test_seeds_go_on_in_the_parts_that_have_checkpoints(
    tmp_path: Path, saved: tuple[int, ...], missing: tuple[int, ...], parts: list[tuple[int, ...]]
) -> None:
    plan = nlbench.resolve("mlp", STREAM, seeds=6)
    cell = Cell(plan, missing, {})
    assert cell.begun(tmp_path, (1, 2, 3)) == []
    path = plan.of_seeds(saved).checkpoint_path(tmp_path)
    path.parent.mkdir()
    path.touch()
    assert cell.begun(tmp_path, (3, 2, 1)) == parts


def test_a_place_that_refuses_has_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def exists(self, path: Path) -> bool:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cells, "storage", lambda path: Refusing())
    assert Cell(nlbench.resolve("mlp", STREAM, seeds=2), (0, 1), {}).begun(tmp_path, (1, 2)) == []


def test_a_seed_that_diverges_is_left_out_and_the_record_says_so(odd: str, tmp_path: Path) -> None:
    plan = nlbench.resolve(odd, STREAM, seeds=5)
    made = CellWork(plan, tmp_path / "masked", CPU, False, "mask").perform()
    assert (made.seeds_run, made.diverged) == ((0, 2, 4), dict.fromkeys((1, 3), "task 1, step 2: the loss is nan"))
    footer = read_record(plan.record_path(tmp_path / "masked")).footer
    assert (footer.seeds, footer.lost) == ([0, 2, 4], made.diverged)
    stopped = CellWork(plan, tmp_path / "stopped", CPU, False, "stop").perform()
    assert (stopped.seeds_run, stopped.diverged) == ((), made.diverged)
    assert not plan.record_path(tmp_path / "stopped").exists()
    none = CellWork(replace(plan, seeds=(1, 3)), tmp_path / "none", CPU, False, "mask").perform()
    assert (none.seeds_run, none.diverged) == ((), made.diverged)


@pytest.mark.parametrize("way", ["mask", "stop"])
def test_a_run_that_diverges_leaves_no_checkpoint(way: OnDivergence, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(ODD.replace("self.steps == 2", "self.steps == 8"))  # in the second task, of five batches
    plan = nlbench.resolve(f"{tmp_path / 'late.py'}:Odd", STREAM, seeds=2)
    made = CellWork(plan, tmp_path / "r", CPU, False, way).perform()
    assert made.diverged == {1: "task 2, step 3: the loss is nan"}
    assert not list((tmp_path / "r/.checkpoints").glob("*.checkpoint"))


def test_what_is_remarked_on_the_way_is_a_note_of_the_cell(odd: str, tmp_path: Path) -> None:
    remarked = "import warnings\nfrom nlbench.errors import Remark\nwarnings.warn('by the way', Remark)\n"
    (tmp_path / "odd.py").write_text(remarked + ODD)
    assert CellWork(nlbench.resolve(odd, STREAM, seeds=1), tmp_path, CPU, False, "mask").perform().notes == ["by the way"]


def test_other_code_than_was_planned_with_is_refused(tmp_path: Path) -> None:
    plan = nlbench.resolve("mlp", STREAM, seeds=1)
    other = replace(plan, code=replace(plan.code, digests={**plan.code.digests, "learner": "0" * 16}))
    with pytest.raises(NlbenchError, match=r"the code of its learner is another here .* Install the same nlbench"):
        CellWork(other, tmp_path, CPU, False, "mask").perform()
    assert not list(tmp_path.iterdir())
