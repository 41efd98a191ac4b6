"""The report: what the page says, that it needs nothing else, and how it looks to a browser."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_records import make_record, matrix, windowed

from nlbench import plan
from nlbench.comparison import Comparison, compare
from nlbench.errors import NlbenchError
from nlbench.records import Record, Row, read_records
from nlbench.reporting import report, rerun, theme
from nlbench.reporting.figures import _interval, _mean_of_seen, _within, figures
from nlbench.reporting.page import names_of_groups, standouts
from nlbench.reporting.rerun import seeds_text

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary: apt-get install chromium")


def within_rows(seed: int, n_tasks: int, evaluations: int = 6) -> list[Row]:
    """Return evaluations within tasks that fall after each switch; seeds lie symmetrically around the mean."""
    rows = []
    for done in range(n_tasks):
        for number in range(evaluations):
            for task in range(1, done + 2):
                value = 0.9 - 0.1 * (done + 1 - task) + 0.02 * (-1) ** seed
                rows.append(Row(seed, done, task, (done * evaluations + number) * 16, "accuracy_within", value, 100))
    return rows


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    """Four learners on split-digits, one of them at chance and one without evaluations within tasks; one on another stream."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    means = {"mlp": (0.1, 0.95), "cms": (0.4, 0.93), "joint": (0.9, 0.92), "chance": (0.5, 0.5)}
    for number, (model, (final, learned)) in enumerate(means.items()):
        noise = 0.0 if model == "chance" else 0.01
        matrices = {seed: np.clip(matrix(final, learned) + rng.normal(0, noise, (6, 5)), 0, 1) for seed in range(4)}
        extra = [] if model == "joint" else [row for seed in range(4) for row in within_rows(seed, 5)]
        facts = {"model": model, "fingerprint": f"fingerprint-{model}", "memory_bytes": 10.0**number, "seconds": 2.0**number}
        make_record(folder / f"{model}.parquet", matrices, extra=extra, **facts)
    other = {"stream": "permuted-digits", "stream_digest": "digest-of-other", "fingerprint": "fingerprint-other"}
    make_record(folder / "other.parquet", {0: matrix(0.5, 0.9, 3)}, **other)
    return read_records([folder])[0]


def compared(records: list[Record]) -> Comparison:
    """A comparison beside whose records something was skipped."""
    return replace(compare(records), skipped=("skipped a.txt is no record.",))


@pytest.fixture(scope="module")
def written(records, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("report")
    return report(compared(records), folder / "report.html", folder=folder / "figures")


@pytest.fixture(scope="module")
def page(written) -> str:
    return written[0].read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """Return the part of the page that is one stream's."""
    return (
        page[page.index(f'<section class="stream" id="{name}"') :]
        .partition('<section class="stream"')[2]
        .partition('class="stream"')[0]
    )


def panels(page: str, figure: str) -> list[str]:
    return re.findall(
        r"<figure>.*?</figure>", page.partition(f'<section class="{figure}"')[2].partition("</section>")[0], re.DOTALL
    )


# what is on the page


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


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', page)) | set(re.findall(r'aria-labelledby="([^"]*)"', page))
    assert references
    assert references <= set(ids)


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


def test_what_was_not_measured_leaves_no_mark(tmp_path):
    final = np.ma.masked_all((31, 30))
    final[-1] = 0.5
    record = make_record(tmp_path / "a.parquet", {0: final, 2: final})
    page = report(compare([record]), tmp_path / "report.html")[0].read_text(encoding="utf-8")
    assert "Tasks 1, 8, 15, 22, 29 of 30." in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    one = make_record(tmp_path / "b.parquet", {0: np.array([[0.1], [0.9]])})
    assert len(panels(report(compare([one]), tmp_path / "b.html")[0].read_text(encoding="utf-8"), "forgetting")) == 1


def test_a_window_of_one_task_speaks_of_forgetting_first(tmp_path):
    record = make_record(tmp_path / "a.parquet", {s: windowed(matrix(0.6, 0.9)) for s in (0, 2)})
    page = report(compare([record]), tmp_path / "report.html")[0].read_text(encoding="utf-8")
    assert "average accuracy 0.660 ± 0.000, forgetting first 0.300 ± 0.000" in page
    assert "(1/(T−1)) Σ_{j&lt;T} (R[j,j] − R[T,j])" in page


def test_a_place_that_cannot_be_written_is_one_line(records, tmp_path):
    with pytest.raises(NlbenchError, match="is a folder"):
        report(compare(records), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NlbenchError, match="cannot be written"):
        report(compare(records), tmp_path / "file" / "report.html")


def test_a_full_disk_leaves_the_page_that_was_there(records, tmp_path, monkeypatch):
    def half(path, text, encoding):
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise OSError(28, "No space left on device")

    page = tmp_path / "out" / "report.html"
    page.parent.mkdir()
    page.write_text("the one before")
    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(NlbenchError, match=r"report\.html: cannot be written: No space left on device"):
        report(compare(records), page)
    assert page.read_text() == "the one before"
    assert list(page.parent.iterdir()) == [page]


# figures


def test_mean_of_seen_tasks():
    R = np.ma.array([[[0.9, 0.8], [1.0, 0.2], [0.6, 0.8]]])
    assert _mean_of_seen(R).tolist() == [[None, 1.0, 0.7]]
    R[0, 2, 0] = np.ma.masked
    assert _mean_of_seen(R).tolist() == [[None, 1.0, None]]


def test_interval_over_seeds_stays_within_shares():
    mean, low, high = _interval(np.ma.masked_invalid([[0.0, 0.5, np.nan], [1.0, 0.5, np.nan]]))
    assert mean[:2].tolist() == [0.5, 0.5]
    assert (low[:2].tolist(), high[:2].tolist()) == ([0.0, 0.5], [1.0, 0.5])
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_within_curves_are_means_over_seeds(records):
    group = next(group for group in compare(records).groups if group.stream == "split-digits")
    curves = _within(next(entry for entry in group.entries if entry.label == "mlp"))
    samples, accuracy = curves[2]
    assert samples.tolist() == [16 * number for number in range(6, 30)]
    assert np.allclose(accuracy, np.repeat([0.9, 0.8, 0.7, 0.6], 6))


def test_figures_as_files(written, records):
    names = [path.name for path in written[1:]]
    kinds = ("matrices", "forgetting", "stability-gap", "pareto")
    expected = {f"split-digits.{kind}.{form}" for kind in kinds for form in ("svg", "png")}
    assert expected <= set(names)
    assert not [name for name in names if name.startswith("permuted-digits.stability-gap")]
    for path in written[1:]:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert path.read_bytes().startswith(b"\x89PNG")


def test_colours_on_the_page_follow_its_mode(page):
    svgs = "".join(re.findall(r"<svg .*?</svg>", page, re.DOTALL))
    assert "var(--series-0)" in svgs
    assert "var(--ink)" in svgs
    assert not [light for light, _ in theme.COLOURS.values() if light in svgs]
    used = set(re.findall(r"var\(--([\w-]+)\)", page)) - {"share"}
    for mode in (0, 1):
        declared = dict(re.findall(r"--([\w-]+):(#\w+)", theme.declarations(mode)))
        assert used <= declared.keys()


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_page(mode):
    for ground in ("card", "page"):
        behind = theme.PAGE[ground][mode]
        for name, pair in theme.COLOURS.items():
            least = 4.5 if name in ("ink", "muted") else 3.0 if name.startswith(("series", "task")) else 1.0
            if ground == "card" or least == 4.5:
                assert contrast(pair[mode], behind) >= least, (name, pair[mode], behind)
    assert contrast(theme.PAGE["link"][mode], theme.PAGE["card"][mode]) >= 4.5
    assert contrast(theme.PAGE["warn"][mode], theme.PAGE["warn-back"][mode]) >= 4.5


def test_lines_differ_without_colour():
    lines = [theme.Line.of(style) for style in range(theme.MOST_LEARNERS)]
    assert len({line.marker for line in lines}) == len({str(line.dash) for line in lines}) == len(lines)


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


# how to rerun


def recorded(tmp_path: Path, model: str, stream: str, overrides: dict[str, str], seeds=(0, 1), **more: str) -> Record:
    facts = plan.resolve(model, stream, seeds=seeds, overrides=overrides, **more).describe()
    tasks = facts.pop("n_tasks")
    facts.pop("seeds")
    return make_record(tmp_path / "a.parquet", {seed: matrix(0.5, 0.9, tasks) for seed in seeds}, **facts)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"learner.hidden": "[7, 9]", "learner.rate": "0.03"},
        {"stream.scenario": "task-il", "protocol.passes": "2", "protocol.prequential": "true"},
        {"protocol.batch": "8"},
        {"batch": "8"},
        {"protocol.batch": "8", "batch": "4", "presents": "cumulative"},
    ],
    ids=str,
)
def test_rerun_resolves_to_the_same_fingerprint(tmp_path, overrides):
    record = recorded(tmp_path, "mlp", "split-digits", overrides)
    again = rerun(record)
    words = shlex.split(again.command)
    assert words[:8] == ["nlbench", "run", "--model", "mlp", "--stream", "split-digits", "--seeds", "2"]
    given = dict(words[index + 1].split("=", 1) for index, word in enumerate(words) if word == "--set")
    assert plan.resolve("mlp", "split-digits", seeds=record.seeds, overrides=given).fingerprint == record.fingerprint
    assert again.remark.startswith("Same fingerprint")
    assert given.keys() <= overrides.keys()


def test_rerun_keeps_the_precision(tmp_path):
    again = rerun(recorded(tmp_path, "mlp", "split-digits", {}, precision="bf16"))
    assert again.command == "nlbench run --model mlp --stream split-digits --seeds 2 --precision bf16"
    assert again.remark.startswith("Same fingerprint")


def test_rerun_says_what_has_changed_since(tmp_path):
    facts = plan.resolve("mlp", "split-digits", seeds=(0,)).describe() | {"fingerprint": "older", "source_digest": "older code"}
    facts = {key: value for key, value in facts.items() if key not in ("seeds", "n_tasks")}
    record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, environment={"commit": "c0ffee" * 7}, **facts)
    remark = rerun(record).remark
    assert (
        remark == "Another fingerprint with this version: the code that runs changed since. It was made at commit c0ffeec0ffee."
    )


def test_rerun_of_what_is_not_declared_here_says_so(tmp_path):
    record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, model="nobody-knows-it")
    again = rerun(record)
    assert "nobody-knows-it" in again.command
    assert again.remark.startswith("Not reconstructed")


@pytest.mark.parametrize(("seeds", "text"), [((0, 1, 2), "3"), ((3,), "3,"), ((1, 4), "1,4"), ((0,), "1")])
def test_seeds_as_the_command_takes_them(seeds, text):
    assert seeds_text(seeds) == text


# the whole


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


# in a browser

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


class Answers(SimpleHTTPRequestHandler):
    """Serves a folder and keeps the paths that were asked for."""

    asked: list[str]

    def __init__(self, *arguments, asked, **options):
        self.asked = asked
        super().__init__(*arguments, **options)

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, asked=asked, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def browse(page: Path, tmp_path: Path, width: int, *options: str) -> tuple[dict, list[str], list[str]]:
    """Open a page of this width; return what the probe saw, console lines, and paths asked for beside the probe's own."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(page, folder / "report.html")
    (folder / "probe.html").write_text(PROBE % (width, "report.html"))
    with served(folder) as (address, asked):
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
            "--disable-features=NetworkTimeServiceQuerying",
            *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=5000"),
            *(f"--host-resolver-rules=MAP * {address.removeprefix('http://')}", "--window-size=1400,1000", *options),
            *("--dump-dom", f"{address}/probe.html"),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    title = unescape(re.search("<title>(.*?)</title>", result.stdout)[1])
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(title), console, [path for path in asked if path not in ("/probe.html", "/report.html", "/favicon.ico")]


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
