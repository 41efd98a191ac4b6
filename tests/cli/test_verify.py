"""`nlbench verify`: claims from files, tried, shown, paged, with exit codes that a script can trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

CLAIM = """title = "It learns"
statement = "Plain fine-tuning learns a task better than guessing."
seeds = 6
source.paper = "P"
cells.plain = { model = "mlp", stream = "split-digits" }
cells.guess = { model = "chance", stream = "split-digits" }
holds = [{ kind = "order", above = "ABOVE", below = "BELOW", metric = "learning_accuracy", by = 0.1 }]
"""


@pytest.fixture
def files() -> tuple[str, str]:
    for name, above, below in (("true", "plain", "guess"), ("false", "guess", "plain")):
        Path(f"{name}.toml").write_text(CLAIM.replace("ABOVE", above).replace("BELOW", below))
    return "./true.toml", "./false.toml"


def test_claims_are_tried_and_the_worst_decides(command: Command, files) -> None:
    planned = json.loads(command("verify", *files, "--dry-run", "--format", "json").out)
    assert [[run["recorded"] for run in each["runs"]] for each in planned] == [[0, 0]] * 2
    done = command("verify", files[0], "--workers", "1", "--device", "cpu", "--page", "page.html")
    assert done.code == 0
    assert "holds: true: It learns" in done.err
    assert "It learns" in Path("page.html").read_text()
    both = command("verify", *files, "--workers", "1", "--device", "cpu", "--format", "json")
    assert both.code == 1
    found = {each["claim"]: each for each in json.loads(both.out)}
    assert {name: each["verdict"] for name, each in found.items()} == {"true": "holds", "false": "does not hold"}
    assert found["true"]["findings"][0]["seeds"] == 6
    more = command("verify", files[0], "--seeds", "8", "--dry-run", "--format", "json")
    assert [run["recorded"] for run in json.loads(more.out)[0]["runs"]] == [6, 6]
    few = command("verify", files[0], "--seeds", "3", "--workers", "1", "--device", "cpu")
    assert few.code == 2
    assert "6 seeds would tell" in " ".join(few.out.split())


def test_the_claims_that_come_with_it_are_listed_and_can_be_planned(command: Command) -> None:
    assert "split-mnist-class-il" in command("list", "claims").out
    for form in ("--quick", "--full"):
        planned = json.loads(command("verify", form, "--dry-run", "--format", "json").out)
        assert len(planned) >= 26
        assert [each["claim"] for each in planned if each["obstacle"]] == []
        assert sum(len(each["runs"]) for each in planned) >= 100


def test_an_unknown_claim_is_refused_with_the_nearest(command: Command) -> None:
    done = command("verify", "cuber-permuted-minst")
    assert done.code == 2
    assert "Did you mean cuber-permuted-mnist" in done.err
    assert done.err.endswith("One of your own is named ./file.toml.\n")


def test_a_page_of_another_kind_is_refused_before_any_run(command: Command, files) -> None:
    done = command("verify", files[0], "--page", "page.pdf")
    assert done.code == 2
    assert "a page is HTML or Markdown" in done.err
    assert not Path("results").exists()


def test_a_mistyped_value_is_refused_before_any_run_of_any_claim(command: Command, files) -> None:
    Path("false.toml").write_text(
        Path("false.toml").read_text().replace("seeds = 6", 'seeds = 6\nset = { "protocol.pases" = 2 }')
    )
    done = command("verify", *files)
    assert done.code == 2
    assert done.err == "nlbench: ./false.toml: set.protocol.pases: is not a known key (did you mean passes?), got 2\n"
    assert not Path("results").exists()
