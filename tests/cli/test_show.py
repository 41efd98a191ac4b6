"""What `nlbench show` shows of names and files."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command, run, the_record


def test_show_prints_declarations_and_records(command: Command) -> None:
    assert 'kind = "split"' in command("show", "split-digits").out
    assert json.loads(command("show", "mlp", "--format", "json").out)["declaration"]["learner"]["kind"] == "mlp"
    Path("mine.toml").write_text('[learner]\nkind = "mlp"\n')
    assert json.loads(command("show", "mine.toml", "--format", "json").out)["kind"] == "learner"
    run(command)
    shown = command("show", str(the_record()))
    assert shown.code == 0
    for part in ("average_accuracy", "provenance", "fingerprint", "learner_spec.learner.hidden"):
        assert part in shown.out
    assert json.loads(command("show", str(the_record()), "--format", "json").out)["metadata"]["model"] == "mlp"


def test_show_takes_several_as_a_shells_star_gives_them(command: Command) -> None:
    for rate in ("0.1", "0.2"):
        run(command, "--set", f"learner.rate={rate}", seeds="1")
    paths = sorted(map(str, Path("results").glob("mlp.split-digits.*.parquet")))
    done = command("show", *paths, "cms")
    assert done.code == 0
    assert done.out.count("mlp on split-digits (class-il)") == 2
    assert "# cms, a learner" in done.out
    listed = json.loads(command("show", *paths, "--format", "json").out)
    assert sorted(one["metadata"]["learner_spec"]["learner"]["rate"] for one in listed) == [0.1, 0.2]


def test_show_looks_into_a_stream(command: Command) -> None:
    done = command("show", "split-digits", "--samples", "--figures", "drawn")
    assert "5 tasks, class-il, samples 1 x 8 x 8, 10 logits" in done.out
    assert Path("drawn/split-digits.samples.png").exists()
    assert "logits" not in command("show", "split-digits").out
