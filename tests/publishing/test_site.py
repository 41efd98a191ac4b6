"""The site as a whole: links that lead somewhere, nothing fetched, one that can be published again, and what a browser sees."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browsers import dumped, needs_chromium, probed
from pages import named, within_rows
from synthetic_records import make_record, matrix

from nlbench.publishing import publish
from nlbench.records import read_records


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_link_leads_to_a_file_of_the_site_and_every_page_is_linked(site):
    reached = set()
    for page in site.rglob("*.html"):
        for href in re.findall(r'href="([^"]*)"', page.read_text(encoding="utf-8")):
            if not href.startswith(("#", "data:")):
                target = (page.parent / unescape(href)).resolve()
                assert target.is_file(), (page, href)
                reached.add(target)
    assert {path.resolve() for path in site.rglob("*.html")} <= reached


def test_nothing_is_fetched_and_only_our_script_runs(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"[a-z]+://[^\s\"'<)]+", text)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
        assert text.count("<script") == 1
        assert not re.search(
            r"<iframe|\s(?:on\w+|src)=|@import|@font-face", re.sub("<script>.*?</script>", "", text, flags=re.DOTALL)
        )
        assert "default-src 'none'" in text


def test_names_from_records_are_text(records, site):
    (page,) = site.glob(f"records/*{named(records, 'evil').fingerprint}.html")
    assert '"><script>alert(1)</script>' in unescape(page.read_text(encoding="utf-8"))
    assert "alert(1)</script>" not in page.read_text(encoding="utf-8")
    assert all(path.resolve().is_relative_to(site) for path in site.rglob("*"))


def test_same_records_give_the_same_bytes(records, site, tmp_path):
    publish(records, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(site)


def test_publishing_again_replaces_the_site_and_nothing_else(records, tmp_path):
    site = tmp_path / "site"
    publish([record for record in records if record.model != "chance"], site)
    (site / ".git").mkdir()
    (site / "CNAME").write_text("numbers.example")
    publish([record for record in records if record.model == "mlp"], site)
    assert [path.name for path in (site / "records").iterdir()] == [f"mlp.split-digits.{named(records, 'mlp').fingerprint}.html"]
    assert (site / "CNAME").read_text() == "numbers.example"
    assert (site / ".git").is_dir()


PROBE = """<!doctype html><title>probe</title><iframe id="f" style="border:0" width="%d" height="900" src="%s"></iframe><script>
document.getElementById("f").onload = async event => {
  const view = event.target.contentWindow, page = event.target.contentDocument;
  const rows = table => [...page.getElementById(table).tBodies[0].rows].filter(row => !row.hidden);
  const names = table => rows(table).map(row => row.cells[0].querySelector("a").innerText);
  const seen = {scroll: page.documentElement.scrollWidth, violations: null};
  const table = page.querySelector("table.sortable[id=learners], table.sortable[id=records]");
  if (table) {
    const column = [...table.tHead.rows[0].cells].find(head => head.innerText.startsWith("bytes"));
    const press = () => { column.querySelector("button").click(); return [column.getAttribute("aria-sort"), names(table.id)]; };
    seen.sorted = [press(), press()];
    const search = page.querySelector("input[type=search]");
    const type = words => { search.value = words; search.dispatchEvent(new Event("input", {bubbles: true})); };
    type("m1"); seen.searched = names(table.id); seen.said = page.querySelector("output").innerText;
    type("");
    const choice = page.querySelector("select[name=buffer]");
    choice.value = "samples stored"; choice.dispatchEvent(new Event("input", {bubbles: true}));
    seen.stored = names(table.id);
    choice.value = ""; choice.dispatchEvent(new Event("input", {bubbles: true}));
    seen.all = names(table.id).length;
  }
  if (view.axe) {
    const found = await view.axe.run(page, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]});
    seen.violations = found.violations.map(rule => [rule.id, rule.nodes.slice(0, 3).map(node => node.html.slice(0, 200))]);
    seen.passes = found.passes.map(rule => rule.id);
  }
  document.title = JSON.stringify(seen);
};
</script>"""


@pytest.fixture(scope="module")
def hundreds(tmp_path_factory) -> tuple[Path, float]:
    """A site of 300 records on six streams, and the seconds of the processor that it took."""
    folder = tmp_path_factory.mktemp("hundreds")
    rng = np.random.default_rng(0)
    for number in range(300):
        stream, learner = number % 6, number // 6
        matrices = {seed: np.clip(matrix(0.3 + 0.01 * learner, 0.9) + rng.normal(0, 0.02, (6, 5)), 0, 1) for seed in range(10)}
        extra = [row for seed in range(10) for row in within_rows(seed, 5, 3)]
        if learner % 10 == 0:
            extra += [type(extra[0])(seed, 5, None, None, "bytes.samples", 10.0) for seed in range(10)]
        facts = {"stream": f"s{stream}", "stream_digest": f"s{stream}", "model": f"m{learner}", "fingerprint": str(number)}
        spec = {"learner": {"kind": "mlp", "width": learner}}
        make_record(
            folder / f"{number}.parquet", matrices, extra=extra, memory_bytes=1000.0 * (50 - learner), learner_spec=spec, **facts
        )
    records = read_records([folder])[0]
    clock = time.process_time()
    publish(records, folder / "site")
    return folder / "site", time.process_time() - clock


@pytest.mark.slow
@pytest.mark.timed
def test_three_hundred_records_take_seconds_and_light_pages(hundreds):
    site, seconds = hundreds
    assert seconds <= 20
    pages = list(site.rglob("*.html"))
    assert len(pages) == 1 + 6 + 300
    assert max(page.stat().st_size for page in pages) <= 2_000_000


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """The script of axe-core, out of the registry of npm; it is no part of the package."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, which fetches axe-core")
    done = subprocess.run([npm, "pack", "axe-core@4.10.3", "--silent"], cwd=folder, capture_output=True, text=True, check=False)
    packed = next(folder.glob("*.tgz"), None)
    if done.returncode or packed is None:
        pytest.skip(f"axe-core cannot be fetched: {done.stderr.strip()[-200:]}")
    with tarfile.open(packed) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def opened(site: Path, page: str, tmp_path: Path, width: int, *options: str, axe: str = "", spoil=lambda text: text):
    """Open the page of a site that fits a pattern at a width, with axe in it; return what the probe saw, console lines, what else
    was asked.
    """
    (found,) = site.glob(page)
    text = found.read_text(encoding="utf-8")
    if axe:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace(
            "</body>", '<script src="axe.js"></script></body>'
        )
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "page.html").write_text(spoil(text), encoding="utf-8")
    (folder / "axe.js").write_text(axe, encoding="utf-8")
    seen, console, asked = probed(folder, PROBE % (width, "page.html"), tmp_path / "profile", *options, budget=60_000)
    return seen, console, [path for path in asked if path not in ("/page.html", "/axe.js")]


DARK = "--blink-settings=preferredColorScheme=0"


@pytest.mark.slow
@needs_chromium
def test_tables_sort_and_filter_in_a_browser(hundreds, tmp_path):
    seen, console, asked = opened(hundreds[0], "streams/s0.html", tmp_path, 1280)
    assert (console, asked) == ([], [])
    (up, rising), (down, falling) = seen["sorted"]
    assert (up, down) == ("ascending", "descending")
    assert rising == [f"m{number}" for number in range(49, -1, -1)]
    assert falling == rising[::-1]
    assert sorted(seen["searched"]) == sorted(["m1", *(f"m{number}" for number in range(10, 20))])
    assert seen["said"] == "11 of 50"
    assert sorted(seen["stored"]) == ["m0", "m10", "m20", "m30", "m40"]
    assert seen["all"] == 50


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("width", "options"), [(390, ()), (1280, (DARK,))], ids=["phone-light", "desk-dark"])
@pytest.mark.parametrize("page", ["index.html", "streams/s0.html", "records/m3.s0.*.html"])
def test_pages_fit_a_phone_and_can_be_read_by_all(hundreds, axe, tmp_path, page, width, options):
    seen, console, asked = opened(hundreds[0], page, tmp_path, width, *options, axe=axe)
    assert (console, asked) == ([], [])
    assert seen["scroll"] <= width
    assert seen["violations"] == []
    assert {"color-contrast", "button-name" if page != "records/m3.s0.*.html" else "document-title"} <= set(seen["passes"])


@pytest.mark.slow
@needs_chromium
def test_the_browser_tests_see_faults(hundreds, axe, tmp_path):
    def spoil(text: str) -> str:
        return text.replace(
            "<h1>", '<img src="/x.png"><p style="color:#ccc;background:#fff">pale</p><div style="width:900px">wide</div><h1>'
        )

    seen, _, asked = opened(hundreds[0], "index.html", tmp_path, 390, axe=axe, spoil=spoil)
    assert {"color-contrast", "image-alt"} <= {rule for rule, _ in seen["violations"]}
    assert seen["scroll"] > 390
    assert set(asked) == {"/x.png"}


@pytest.mark.slow
@needs_chromium
def test_it_opens_from_a_disk(hundreds, tmp_path):
    document, console = dumped((hundreds[0] / "index.html").as_uri(), tmp_path / "profile")
    assert console == []
    assert "300 of 300</output>" in document
    assert not re.search(r'<form class="filter"[^>]*hidden', document)
