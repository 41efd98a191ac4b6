"""The page: whole, self-contained, the same for the same records."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browsers import needs_chromium, probed
from matplotlib.colors import to_rgb
from pages import compared, panels, section, within_rows
from synthetic_records import make_record, matrix

from nlbench.comparison import compare
from nlbench.errors import NlbenchError
from nlbench.records import read_records
from nlbench.reporting import report, theme
from nlbench.reporting.figures import figures
from nlbench.reporting.page import names_of_groups, standouts


def test_every_figure_is_there_with_its_words(page):
    split = section(page, "split-digits")
    found = {name: len(panels(split, name)) for name in ("matrices", "forgetting", "stability-gap", "pareto")}
    assert found == {"matrices": 4, "forgetting": 5, "stability-gap": 3, "pareto": 2}
    assert "Not measured within tasks: joint." in split
    alts = [unescape(text) for text in re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', page)]
    assert len(alts) == len(re.findall("<figure>", page))
    assert all(len(text) > 40 for text in alts)
    assert '<section class="stability-gap"' not in section(page, "permuted-digits")  # nobody looked within its tasks


def test_matrix_shows_the_mean_over_seeds(page, records):
    record = next(record for record in records if record.model == "cms")
    order = [re.search("<strong>(.*?)</strong>", panel)[1] for panel in panels(section(page, "split-digits"), "matrices")]
    panel = panels(section(page, "split-digits"), "matrices")[order.index("cms")]
    texts = [text for style, text in re.findall('<text style="([^"]*)"[^>]*>([^<]*)</text>', panel) if "muted" not in style]
    numbers = [float(text) for text in texts]
    assert np.allclose(numbers, record.accuracies.mean(0).ravel(), atol=0.0051)


def test_table_names_the_learner_at_chance(page):
    split = section(page, "split-digits")
    assert re.search(r'<th scope="row">chance<span class="badge warn">at chance</span>', split)
    assert not re.search(r'<th scope="row">(cms|joint|mlp)<span class="badge warn">', split)
    assert '<span class="unseen"> (at chance)</span>' in split
    assert "at chance" not in section(page, "permuted-digits")


def test_tables_of_the_comparison_are_whole(page, records):
    split = section(page, "split-digits")
    group = next(group for group in compare(records).groups if group.stream == "split-digits")
    for entry in group.entries:
        for paired in entry.paired.values():
            assert f"{paired.mean:+.3f}" in split
    for remark in group.notes:
        assert remark in unescape(split)
    assert "skipped a.txt is no record." in page


def test_nothing_is_fetched_and_nothing_runs(page):
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<)]+", page))
    assert addresses == {"http://www.w3.org/1999/xlink"}  # a namespace
    assert not re.search(r"<script|<iframe|<link(?! rel=\"icon\" href=\"data:,\")|\son\w+=|@import|@font-face", page)
    assert "default-src 'none'" in page


def test_names_from_records_are_text(tmp_path):
    name = '"><script>alert(1)</script>$x_1$'
    record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, model=name, stream="../a b", stream_digest="<b>")
    page = report(compare([record]), tmp_path / "report.html", folder=tmp_path / "figures")[0].read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert name in unescape(page)
    assert all(path.parent == tmp_path / "figures" for path in tmp_path.rglob("*.png"))


def test_same_records_give_the_same_bytes(records, page, tmp_path):
    again = report(compared(records), tmp_path / "report.html")
    assert again[0].read_text(encoding="utf-8") == page


def test_a_place_that_cannot_be_written_is_one_line(records, tmp_path):
    with pytest.raises(NlbenchError, match="is a folder"):
        report(compare(records), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NlbenchError, match="cannot be written"):
        report(compare(records), tmp_path / "file" / "report.html")


def test_a_full_disk_leaves_the_page_that_was_there(records, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    page = tmp_path / "out" / "report.html"
    page.parent.mkdir()
    page.write_text("the one before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NlbenchError, match=r"report\.html: cannot be written: No space left on device"):
        report(compare(records), page)
    assert page.read_text() == "the one before"
    assert list(page.parent.iterdir()) == [page]


def test_standouts_keep_their_style_and_hold_the_baseline(tmp_path):
    def make(stream, number, final):
        facts = {"stream": stream, "stream_digest": stream, "fingerprint": f"{stream}-{number}", "model": f"m{number}"}
        return make_record(tmp_path / f"{stream}.{number}.parquet", {0: matrix(final, 0.9), 1: matrix(final, 0.9)}, **facts)

    made = [make("a", n, 0.1 + 0.08 * n) for n in range(9)] + [make("b", n, 0.8 - 0.08 * n) for n in (8, 5, 0)]
    groups = compare(made, baseline="m0").groups
    first, second = standouts(groups)
    assert set(first) == {"m0", "m4", "m5", "m6", "m7", "m8"}
    assert len(set(first.values())) == theme.MOST_LEARNERS
    assert second == {label: first[label] for label in ("m8", "m5", "m0")}
    curves = figures(groups[0], first, numbers=True)[1]
    assert curves.legend[-1][0] == "3 others"
    assert names_of_groups(groups) == ["a", "b"]


def test_report_imports_no_torch(records, tmp_path):
    paths = [str(record.path) for record in records]
    code = (
        "import sys\nfrom nlbench.comparison import compare\nfrom nlbench.records import read_records\n"
        "from nlbench.reporting import report\n"
        f"report(compare(read_records({paths!r})[0]), {str(tmp_path / 'r.html')!r})\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numba", "triton", "pandas", "matplotlib.pyplot"} & set(loaded)


def test_fifty_records_take_seconds_and_few_bytes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(50):
        group, learner = divmod(number, 10)
        matrices = {seed: np.clip(matrix(0.3 + 0.05 * learner, 0.9) + rng.normal(0, 0.02, (6, 5)), 0, 1) for seed in range(2)}
        extra = [row for seed in range(2) for row in within_rows(seed, 5, 40)]
        facts = {"stream": f"s{group}", "stream_digest": f"s{group}", "model": f"m{learner}", "fingerprint": str(number)}
        make_record(tmp_path / f"{number}.parquet", matrices, extra=extra, memory_bytes=1000.0 * (learner + 1), **facts)
    clock = time.process_time()
    (page,) = report(compare(read_records([tmp_path])[0]), tmp_path / "report.html")
    assert time.process_time() - clock <= 10
    assert page.stat().st_size <= 5_000_000
    assert len(re.findall("<figure>", page.read_text(encoding="utf-8"))) == 5 * (10 + 5 + 6 + 2)


PROBE = """<!doctype html><title>probe</title><iframe id="f" style="border:0" width="%d" height="800" src="%s"></iframe><script>
document.getElementById("f").onload = event => {
  const page = event.target.contentDocument, svgs = [...page.querySelectorAll("figure svg[role=img]")];
  const boxes = svgs.map(svg => svg.getBoundingClientRect());
  document.title = JSON.stringify({
    scroll: page.documentElement.scrollWidth,
    figures: svgs.length,
    drawn: boxes.filter(box => box.width > 100 && box.height > 100).length,
    marks: svgs.filter(svg => svg.querySelectorAll("path,use,image,text").length > 5).length,
    ground: getComputedStyle(page.querySelector(".stream")).backgroundColor,
    ink: getComputedStyle(page.body).color,
  });
};
</script>"""


def browse(page: Path, tmp_path: Path, width: int, *options: str) -> tuple[dict, list[str], list[str]]:
    """Open a page of this width; return what the probe saw, console lines, and paths asked for beside the probe's own."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(page, folder / "report.html")
    seen, console, asked = probed(folder, PROBE % (width, "report.html"), tmp_path / "profile", *options)
    return seen, console, [path for path in asked if path != "/report.html"]


@needs_chromium
@pytest.mark.parametrize(
    ("width", "mode", "options"), [(390, "light", ()), (1280, "dark", ("--blink-settings=preferredColorScheme=0",))]
)
def test_page_in_a_browser(written, page, tmp_path, width, mode, options):
    seen, console, asked = browse(written[0], tmp_path, width, *options)
    assert console == []
    assert asked == []
    assert seen["figures"] == len(re.findall("<figure>", page)) == seen["drawn"] == seen["marks"]
    assert seen["scroll"] <= width  # wide tables scroll by themselves

    def rgb(pair):
        return "rgb({}, {}, {})".format(*(round(255 * part) for part in to_rgb(pair[("light", "dark").index(mode)])))

    assert (seen["ground"], seen["ink"]) == (rgb(theme.PAGE["card"]), rgb(theme.COLOURS["ink"]))


@needs_chromium
def test_the_browser_test_sees_faults(page, tmp_path):
    """A fetched image, a script error and a table too wide for a phone do not pass unseen."""
    spoiled = page.replace('http-equiv="Content-Security-Policy"', "").replace(
        "<h1>", '<img src="http://fonts.example/a.png"><script>undefined_name()</script><div style="width:900px">wide</div><h1>'
    )
    assert spoiled != page
    (tmp_path / "spoiled.html").write_text(spoiled, encoding="utf-8")
    seen, console, asked = browse(tmp_path / "spoiled.html", tmp_path, 390)
    assert seen["scroll"] > 390
    assert any("undefined_name" in line for line in console)
    assert asked == ["/a.png"]
