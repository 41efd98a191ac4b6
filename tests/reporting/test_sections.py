"""What pages share: templates that escape, and rows in the columns of the comparison's table."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from nlbench.comparison import compare, learner_table
from nlbench.reporting.sections import Cell, learner_lines, provenance, template


def test_a_template_escapes_what_it_is_given_and_misses_nothing():
    page = template("parts.html.j2").module.named(Cell("<b>", href='"><i>'))
    assert page == '<a href="&#34;&gt;&lt;i&gt;">&lt;b&gt;</a>'
    with pytest.raises(UndefinedError):
        template("page.html.j2").render(sections=[])


def test_rows_are_those_of_the_comparison_and_mark_who_learned_nothing(records):
    group = next(group for group in compare(records).groups if group.stream == "split-digits")
    lines = {line.cells[0].text: line for line in learner_lines(group)}
    assert lines["chance"].cells[0].mark == "at chance"
    assert lines["mlp"].cells[0].mark == "baseline"
    shown = {row[0]: row for row in learner_table(group).rows}
    assert [cell.text for cell in lines["cms"].cells] == list(shown["cms"])
    place = learner_table(group).header.index("average_accuracy")
    (entry,) = [entry for entry in group.entries if entry.label == "cms"]
    assert lines["cms"].cells[place].share == pytest.approx(entry.estimates["average_accuracy"].mean)


def test_provenance_says_each_execution_and_no_folder(records):
    (group,) = [group for group in compare(records).groups if group.stream == "permuted-digits"]
    said = provenance(group.entries[0])
    assert said["files"] == [group.entries[0].record.path.name]
    assert [title for title, _ in said["tables"]] == ["identity", "learner", "stream", "terms", "execution 1"]
    assert dict(said["tables"])["execution 1"]["threads"] == 1
