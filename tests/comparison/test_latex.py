"""Tables for a paper: the best is bold with what is not told from it, headers say which way is better, booktabs is enough."""

from __future__ import annotations

import re
from pathlib import Path

from compared_records import learner

from nlbench.comparison import compare, latex

BEST = [0.90, 0.91, 0.92, 0.91, 0.90]
CLOSE = [0.91, 0.90, 0.92, 0.90, 0.91]
WORSE = [0.50, 0.51, 0.52, 0.51, 0.50]


def test_the_best_is_bold_and_what_a_paired_test_does_not_tell_from_it(tmp_path: Path) -> None:
    records = [learner(tmp_path, name, values) for name, values in (("best", BEST), ("close", CLOSE), ("worse", WORSE))]
    found = compare(records, metrics=["average_accuracy"])
    assert {label for label, metric in latex.best(found.groups[0]) if metric == "average_accuracy"} == {"best", "close"}
    rows = re.findall(r"^(best|close|worse) & .*$", found.to_latex(), re.M)
    bold = [line for line in found.to_latex().splitlines() if r"\textbf" in line]
    assert rows
    assert len(bold) == 2


def test_one_learner_alone_is_not_bold(tmp_path: Path) -> None:
    text = compare([learner(tmp_path, "only", BEST)]).to_latex()
    assert r"\textbf" not in text
    assert "Bold:" not in text


def test_what_bold_and_the_star_mean_stands_below_the_table(tmp_path: Path) -> None:
    found = compare([learner(tmp_path, "best", BEST), learner(tmp_path, "worse", WORSE)])
    star = r"$\star$: no other learner is better at average\_accuracy for as few bytes or seconds."
    bold = "Bold: the best mean, and what a paired t test does not tell from it (p at least .05)."
    text = found.to_latex()
    assert f"\\end{{tabular}}\n\n{{\\footnotesize {star} {bold}\\par}}\n" in text
    assert text.count(star) == text.count(bold) == 1
    assert "◆" not in text
    assert f"{{\\footnotesize {star}\\par}}" in found.to_latex(["bytes"])
    assert f"{{\\footnotesize {bold}\\par}}" in found.to_latex(["average_accuracy"])
    assert "footnotesize" not in found.to_latex(["seeds"])


def test_headers_say_which_way_is_better_and_no_package_but_booktabs_is_needed(tmp_path: Path) -> None:
    text = compare([learner(tmp_path, "one", BEST), learner(tmp_path, "two", WORSE)]).to_latex()
    assert r"average accuracy $\uparrow$" in text
    assert r"forgetting $\downarrow$" in text
    assert "blacklozenge" not in text


def test_a_negative_number_has_a_minus_and_a_name_its_hyphen(tmp_path: Path) -> None:
    text = compare([learner(tmp_path, "one-2", BEST), learner(tmp_path, "two", WORSE)], baseline="one-2").to_latex()
    assert re.search(r"^two & average\\_accuracy & \$-\$0\.\d", text, re.M)
    assert "one-2 &" in text
