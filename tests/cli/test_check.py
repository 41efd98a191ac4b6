"""What `nlbench check` prints, writes and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Command
from gated_records import OLD, dated, record, shifted


@pytest.fixture
def judged(tmp_path: Path) -> None:
    """A reference, a record as good, and one that is worse and no older."""
    record(tmp_path / "reference" / "hope.parquet", OLD)
    dated(tmp_path / "good.parquet", "01", OLD)
    dated(tmp_path / "bad.parquet", "01", shifted(-0.05))


@pytest.mark.parametrize(
    ("paths", "against", "code"), [(("good",), "reference", 0), (("good", "bad"), "reference", 1), (("good",), "elsewhere", 2)]
)
def test_the_exit_status_is_the_verdict(paths: tuple[str, ...], against: str, code: int, command: Command, judged: None) -> None:
    done = command("check", *(f"{path}.parquet" for path in paths), "--against", against)
    assert done.code == code
    assert done.err == ""
    assert (
        json.loads(command("check", *(f"{path}.parquet" for path in paths), "--against", against, "--format", "json").out)[
            "exit_status"
        ]
        == code
    )


def test_reports_are_written_and_markdown_is_appended(command: Command, judged: None) -> None:
    Path("summary.md").write_text("before\n")
    arguments = ("check", "bad.parquet", "good.parquet", "--against", "reference", "--junit", "j.xml", "--markdown", "summary.md")
    assert command(*arguments).code == 1
    suites = ElementTree.parse("j.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["2", "0"]
    text = Path("summary.md").read_text()
    assert text.startswith("before\n### hope on split-digits: worse")
    assert text.count("### ") == 2


def test_a_report_that_cannot_be_written_is_no_verdict(command: Command, judged: None) -> None:
    done = command("check", "bad.parquet", "--against", "reference", "--junit", "no/j.xml")
    assert (done.code, done.out, done.err) == (2, "", "nlbench: no/j.xml: cannot be written: No such file or directory.\n")


def test_on_github_what_failed_is_annotated(command: Command, judged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "\n::error title=hope on split-digits%3A worse::" in command("check", "bad.parquet", "--against", "reference").out
    assert "::error" not in command("check", "good.parquet", "--against", "reference").out


def test_a_file_named_twice_is_judged_once(command: Command, judged: None) -> None:
    done = command("check", "good.parquet", "g*.parquet", "--against", "reference", "--format", "json")
    assert len(json.loads(done.out)["judgements"]) == 1


def test_update_says_what_became_the_reference(command: Command, judged: None) -> None:
    first = command("check", "good.parquet", "--update", "--against", "mine")
    assert (first.code, first.out) == (0, "mine/good.parquet: written: there was no reference.\n")
    again = command("check", "bad.parquet", "--update", "--against", "mine")
    assert again.out.startswith("mine/good.parquet: kept: the present reference is better on average_accuracy, by 0.0")


def test_a_learner_without_a_record_fails_unless_another_is_asked_for(command: Command, judged: None, tmp_path: Path) -> None:
    record(tmp_path / "reference" / "cms.parquet", OLD, model="cms", fingerprint="of-cms")
    done = command("check", "good.parquet", "--against", "reference")
    assert done.code == 2
    assert "cms on split-digits: cannot be judged" in done.out
    assert command("check", "good.parquet", "--against", "reference", "--only", "hope").code == 0
    unknown = command("check", "good.parquet", "--against", "reference", "--only", "cmss")
    assert (unknown.code, unknown.err) == (2, "nlbench: unknown learner 'cmss'. Did you mean cms?\n")


def test_a_stream_without_a_record_fails_unless_another_is_asked_for(command: Command, judged: None, tmp_path: Path) -> None:
    record(tmp_path / "reference" / "elsewhere.parquet", OLD, stream="permuted-digits", stream_digest="another")
    done = command("check", "good.parquet", "--against", "reference")
    assert done.code == 2
    assert "hope has a reference on permuted-digits and no new record." in done.out
    assert command("check", "good.parquet", "--against", "reference", "--stream", "split-digits").code == 0
    unknown = command("check", "good.parquet", "--against", "reference", "--stream", "splitdigits")
    assert (unknown.code, unknown.err) == (
        2,
        "nlbench: unknown stream 'splitdigits'. Did you mean split-digits or permuted-digits?\n",
    )
