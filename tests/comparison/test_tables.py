"""A comparison as text, Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
from compared_records import learner
from synthetic_records import make_record, matrix

from nlbench.comparison import compare
from nlbench.comparison.tables import bytes_text, chosen, fitting, learner_table, paired_table, remarks, to_text
from nlbench.records import Record


def test_a_null_metric_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    final = np.ma.array(matrix(0.6, 0.9), mask=True)
    final[-1] = 0.6
    record = make_record(tmp_path / "r.parquet", {0: final, 1: final})
    text = compare([record]).to_markdown()
    assert (
        "forgetting is null for mlp: needs rows 1..T of tasks 1..T−1, future columns included, which the stream did not measure."
        in text
    )
    assert "| 0.600 ± 0.000 | – | – |" in text


def test_formats_agree(trio: list[Record]) -> None:
    found = compare(trio)
    frame = found.to_pandas()
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    plain = json.loads(found.to_json())
    assert len(frame) == len(lines) == 3 * 18
    by_csv = {(line["learner"], line["metric"]): line for line in lines}
    for one in plain["groups"][0]["entries"]:
        mean = one["estimates"]["forgetting"]["mean"]
        assert float(by_csv[one["label"], "forgetting"]["mean"]) == mean
        assert frame[(frame.learner == one["label"]) & (frame.metric == "forgetting")]["mean"].item() == mean
        assert f"{mean:.3f} ±" in found.to_markdown()
        assert f"{mean:.3f} $\\pm$" in found.to_latex()
    assert by_csv["hope", "forgetting"]["verdict"] == "better"
    assert by_csv["hope", "min_accuracy"]["mean"] == ""
    assert by_csv["mlp", "forgetting"]["p"] == ""


def test_plain_text_is_aligned(trio: list[Record]) -> None:
    title, *lines = to_text(learner_table(compare(trio, metrics=["average_accuracy"]).groups[0])).rstrip().split("\n")
    assert title == "split-digits · class-il · 5 tasks"
    assert lines[-1].split() == ["(chance)", "0.100"]
    assert {line.index("0.") for line in lines[1:]} == {lines[0].index("average_accuracy")}


def test_latex_escapes(tmp_path: Path) -> None:
    text = compare([learner(tmp_path, "my_learner", [0.5, 0.6])]).to_latex()
    assert r"my\_learner &" in text
    assert r"average accuracy $\uparrow$" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all(ord(character) < 128 or character == "–" for line in body for character in line)


def test_sizes() -> None:
    assert [bytes_text(size) for size in (0, 999, 1000, 16_000_000, 2.5e12)] == ["0 B", "999 B", "1.0 kB", "16.0 MB", "2.5 TB"]


def test_columns_are_left_out_from_the_least_to_fit_a_width(trio: list[Record]) -> None:
    table = learner_table(compare(trio).groups[0])
    for width in (60, 80, 100):
        fits, dropped = fitting(table, width)
        lines = to_text(fits).splitlines()[1:]
        assert max(map(len, lines)) <= width
        assert fits.header[:1] == ("learner",)
        assert set(fits.header) | set(dropped) == set(table.header)
        assert all(row[0] for row in fits.rows)
    assert fitting(table, 1000) == (table, ())
    assert fitting(table, 1)[0].header == ("learner",)


def test_columns_are_chosen_by_name(trio: list[Record]) -> None:
    table = learner_table(compare(trio).groups[0])
    assert chosen(table, ["bytes", "seeds"]).header == ("learner", "seeds", "bytes")


def test_columns_that_say_what_a_row_is_of_always_stay(trio: list[Record]) -> None:
    table = paired_table(compare(trio).groups[0])
    assert chosen(table, ["verdict"]).header == ("learner", "metric", "verdict")
    assert fitting(table, 1)[0].header == ("learner", "metric", "verdict")


def test_the_choice_of_columns_holds_for_markdown_and_latex(trio: list[Record]) -> None:
    found = compare(trio)
    chosen_ones = ["average_accuracy", "verdict"]
    markdown = found.to_markdown(chosen_ones)
    assert [line for line in markdown.splitlines() if line.startswith("| learner")] == [
        "| learner | average_accuracy |",
        "| learner | metric | verdict |",
    ]
    assert "◆" not in markdown
    latex = found.to_latex(chosen_ones)
    assert [line for line in latex.splitlines() if line.startswith("learner")] == [
        r"learner & average accuracy $\uparrow$ \\",
        r"learner & metric & verdict \\",
    ]
    assert r"\textbf" in latex
    assert found.to_markdown([]) == found.to_markdown()


def test_the_mark_of_the_front_is_explained(trio: list[Record]) -> None:
    assert any(line.startswith("◆: no other learner") for line in remarks(compare(trio).groups[0]))
