"""What the pages say: the numbers of the comparison, the history, how to make a record again."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
from pages import named
from synthetic_records import make_record, matrix

from nlbench.comparison import compare
from nlbench.comparison.tables import estimate_text
from nlbench.publishing import publish
from nlbench.records import read_records
from nlbench.reporting import rerun


def table(page: str, name: str) -> dict[str, list[str]]:
    """Return the texts of a table's cells by the first cell of their row."""
    body = page.partition(f'<table id="{name}"')[2].partition("</tbody>")[0].partition("<tbody>")[2]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr.*?</tr>", body)]
    return {re.sub("<.*?>", "", row[0]): [unescape(re.sub("<.*?>", "", cell)) for cell in row[1:]] for row in rows}


def test_a_stream_shows_each_learner_with_intervals_verdicts_and_costs_best_first(records, site):
    page = (site / "streams/split-digits.html").read_text(encoding="utf-8")
    shown = table(page, "learners")
    assert list(shown) == ["joint", "er", "chanceat chance", "mlpbaseline"]
    current = [record for record in records if record.path.stem not in ("er-old", "evil")]
    (group,) = compare(current).groups
    er = next(entry for entry in group.entries if entry.label == "er")
    for metric in ("average_accuracy", "learning_accuracy", "forgetting"):
        assert estimate_text(er.estimates[metric]) in shown["er"]
    paired = er.paired["average_accuracy"]
    assert f"{paired.verdict} ({paired.mean:+.3f})" in shown["er"]
    assert "1000 B" not in shown["joint"]
    assert any(text.startswith("1.0 kB") for text in shown["joint"])
    for remark in group.notes:
        assert remark in unescape(page)


def test_cells_are_sorted_by_numbers_not_by_their_text(site):
    page = (site / "streams/split-digits.html").read_text(encoding="utf-8")
    keys = [
        float(key) for key in re.findall(r'data-key="([\d.e+-]+)"', page.partition('id="learners"')[2].partition("</tbody>")[0])
    ]
    assert len(keys) >= 4 * 6
    assert 1000.0 in keys


def test_a_record_shows_its_matrix_numbers_and_command(records, site):
    record = named(records, "mlp")
    page = (site / f"records/mlp.split-digits.{record.fingerprint}.html").read_text(encoding="utf-8")
    cells = re.findall(r'<td[^>]* style="background:[^"]*">(.*?)</td>', page)
    assert np.allclose([float(cell) for cell in cells], record.accuracies.mean(0).ravel(), atol=0.0051)
    assert rerun(record).command in unescape(page)
    assert table(page, "seeds")["3"][0] == f"{record.metric('average_accuracy')[3]:.3f}"
    assert f'href="../data/records/mlp.split-digits.{record.fingerprint}.parquet"' in page


def test_history_leads_from_an_older_record_to_the_newest(records, site):
    names = [f"er.split-digits.{named(records, name).fingerprint}.html" for name in ("er-old", "er-new")]
    old, new = ((site / "records" / name).read_text(encoding="utf-8") for name in names)
    assert f'supersedes it: <a href="{names[1]}"' in old
    assert "supersedes it" not in new
    assert re.findall(r'<td class="word">([0-9a-z]{12}[+]?)</td>', new) == ["4ew4ew4ew4ew+", "0ld0ld0ld0ld"]
    assert 'class="history"' in new
    assert "0ld0ld" not in (site / "index.html").read_text(encoding="utf-8")


def test_the_index_names_the_best_learner_that_is_no_bound(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert table(page, "streams")["split-digits"][3] == "er"
    assert len(table(page, "records")) == 5


def test_a_large_matrix_is_a_picture(tmp_path):
    make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9, 60), 1: matrix(0.6, 0.9, 60)})
    publish(read_records([tmp_path / "a.parquet"])[0], tmp_path / "site")
    (page,) = (tmp_path / "site/records").iterdir()
    text = page.read_text(encoding="utf-8")
    assert "<image" in text
    assert len(text) < 200_000
