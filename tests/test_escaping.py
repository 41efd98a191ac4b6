"""Text from elsewhere reaches no output as a command: terminal, Markdown, CSV, LaTeX, GitHub."""

from __future__ import annotations

import json

import pytest

from nlbench import escaping

NASTY = [
    "a\nb",
    "a\rb",
    "\x1b[31mred",
    "\x9b2J",
    "a\u2028b",
    "\u202eabc",
    "\x00",
    "\x7f",
    "\ud800",
    "\ufeff",
    "ho\u200bpe",
    "ho\xadpe",
    "a\U000e0062",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_control_character_is_no_part_of_a_name_and_leaves_no_output(text: str) -> None:
    assert escaping.name_fault(text) == "must have no control character"
    kinds = (escaping.printable, escaping.terminal, escaping.markdown, escaping.csv, escaping.latex, escaping.github)
    for kind in kinds:
        assert not any(
            character in kind(text) for character in "\n\r\x1b\x9b\u2028\u202e\x00\x7f\ud800\ufeff\u200b\xad\U000e0062"
        )


@pytest.mark.parametrize("text", ["mlp", "hope[width=512]", "köln", "学習", "a b", "…", "x" * 200])
def test_other_text_stands_for_itself(text: str) -> None:
    assert escaping.name_fault(text) == ""
    for kind in (escaping.printable, escaping.terminal, escaping.markdown, escaping.csv, escaping.github):
        assert kind(text) == text


def test_a_name_has_a_length() -> None:
    assert escaping.name_fault("") == escaping.name_fault("x" * 201) == "must have 1 to 200 characters"


@pytest.mark.parametrize("text", ["::error::no", "  ::set-output name=a::b", "see ##[error]no", "ok\n::error::no"])
def test_githubs_log_finds_no_command(text: str) -> None:
    shown = escaping.terminal(text)
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in shown.splitlines())


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "::error::no"])
def test_a_spreadsheet_finds_no_formula(text: str) -> None:
    assert escaping.csv(text) == f"'{text}"


def test_latex_finds_no_command() -> None:
    assert escaping.latex("\\input{/etc/passwd}") == r"\textbackslash{}input\{/etc/passwd\}"
    assert escaping.latex("a_b & 5 % $x$ #1 ~ ^ ±") == r"a\_b \& 5 \% \$x\$ \#1 \textasciitilde{} \textasciicircum{} $\pm$"


def test_markdown_finds_no_cell_tag_code_or_link() -> None:
    assert escaping.markdown("a|b <script> `c` [d](http://e) &amp;") == r"a\|b &lt;script&gt; \`c\` [d]\(http://e) &amp;amp;"


def test_github_finds_one_message() -> None:
    assert escaping.github("50 %, a: b") == "50 %25, a: b"
    assert escaping.github("50 %, a: b", property=True) == "50 %25%2C a%3A b"


def test_json_stays_json() -> None:
    value = {"a": "\x9b2J\u202e\U000e0062", "b": ["\n"]}
    text = escaping.json_text(json.dumps(value, indent=2, ensure_ascii=False))
    assert "\x9b" not in text
    assert json.loads(text) == value
