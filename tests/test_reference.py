"""The committed reference records: the page of them, and what is claimed of `hope`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import nlbench
from nlbench import sources
from nlbench.comparison.statistics import holm, sign_flip_test
from nlbench.records import read_record, read_records
from nlbench.seeds import normal
from nlbench.specs import read_table

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"


@pytest.fixture(scope="module")
def records():
    found, notes = read_records([REFERENCE], with_reference=True)
    assert not notes
    return {(record.model, record.stream): record for record in found}


def values(record, metric):
    return np.array([record.metric(metric)[seed] for seed in range(10)])


@pytest.fixture(scope="module")
def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_says_what_the_records_say(make_reference):
    assert (ROOT / "results" / "README.md").read_text(encoding="utf-8") == make_reference.table()


def test_readme_says_what_the_records_say(make_reference):
    assert f"<!-- results -->\n{make_reference.summary()}<!-- /results -->" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_stream_has_a_line_once_it_has_records_and_none_is_run_without_its_data(make_reference, records, tmp_path, monkeypatch):
    run = nlbench.run("mlp", "instances-digits", seeds=2, results=tmp_path, device="cpu")
    monkeypatch.setattr(make_reference, "SHOWN_ON", ("split-digits", "instances-digits"))
    monkeypatch.setattr(make_reference, "reference", lambda: [*records.values(), run.record])
    head, _, first, last = make_reference.summary().splitlines()
    shown = [name.strip(" `") for name in head.split("|")[2:-1]]
    accuracy = np.mean(list(run.record.metric("average_accuracy").values()))
    cells = dict(zip(shown, (cell.strip() for cell in last.split("|")[2:-1]), strict=True))
    assert cells.pop("mlp").startswith(f"{accuracy:.3f}"[1:])
    assert set(cells.values()) == {"–"}
    assert first.split("|")[2].strip() == " / ".join(
        f"{np.mean(list(records['hope', 'split-digits'].metric(metric).values())):.3f}"[1:]
        for metric in ("average_accuracy", "forgetting")
    )
    monkeypatch.setattr(nlbench.sources.source, "folders", lambda data: [tmp_path / "none"])
    assert make_reference.missing_data("split-newsgroups") == "newsgroups"
    assert make_reference.missing_data("split-digits") == ""


def test_a_mark_says_that_paired_tests_tell_a_learner_from_hope(make_reference, records):
    for stream in make_reference.DIGITS:
        there = [record for record in records.values() if record.stream == stream and record.model in make_reference.SHOWN]
        hope = values(records["hope", stream], "average_accuracy")
        others = {record.model: values(record, "average_accuracy") - hope for record in there if record.model != "hope"}
        p = dict(zip(others, holm(np.array([sign_flip_test(each) for each in others.values()])), strict=True))
        marks = {name: "" if p[name] > 0.05 else "▴" if others[name].mean() > 0 else "▾" for name in others}
        cells = dict(zip(make_reference.SHOWN, make_reference.cells(there), strict=True))
        assert {name: cells[name].strip("./ 0123456789") for name in others} == marks


def test_picture_of_the_readme_is_drawn_from_the_records(make_reference, tmp_path):
    """Shapes and places may differ with matplotlib's version; what is drawn does not."""
    make_reference.draw(tmp_path / "picture.svg")
    new, old = ((place / "picture.svg").read_text("utf-8") for place in (tmp_path, ROOT / "docs"))
    assert len(old) < 100_000
    words = re.compile(r"<!-- (.+?) -->")
    assert words.findall(new) == words.findall(old)
    assert {".99", "mlp", "hope", "er", "joint"} <= set(words.findall(old))


def test_every_reference_is_sound_and_complete(records, make_reference):
    for path in REFERENCE.glob("*.parquet"):
        read_record(path).verify_all()
    made = {(model, stream) for stream, models in make_reference.MODELS.items() for model in models}
    assert set(records) <= made
    for stream in {stream for _, stream in records}:
        there = {model for model, on in records if on == stream}
        assert there >= {"hope", "er", "mlp"}, stream
    for (_, stream), record in records.items():
        seeds = {*record.seeds, *(each.seed for each in record.footer.diverged)}
        assert seeds == set(range(make_reference.SEEDS.get(stream, 10)))
    sizes = [path.stat().st_size for path in REFERENCE.glob("*.parquet")]
    assert max(sizes) <= 40 * 1024
    assert sum(sizes) <= 4_000_000


@pytest.mark.parametrize(
    ("stream", "accuracy", "forgetting"), [("split-digits", 0.993, 0.002), ("permuted-digits", 0.974, 0.008)]
)
def test_hope_reaches_its_targets(records, stream, accuracy, forgetting):
    record = records["hope", stream]
    assert values(record, "average_accuracy").mean() >= accuracy
    assert values(record, "forgetting").mean() <= forgetting


def test_hope_is_as_good_as_joint_ridge_on_split_digits(records):
    """To 0.004, on 512 random ReLU features of the same split."""
    data = sources.find("digits").read()
    inputs = [torch.from_numpy(part.reshape(len(part), -1)).double() for part in (data.train_inputs, data.test_inputs)]
    mean, spread = inputs[0].mean(), inputs[0].std()
    scores = []
    for seed in range(10):
        weight = torch.from_numpy(normal((seed,), "ridge/weight", (64, 512))[0]).double() / 8
        bias = torch.from_numpy(normal((seed,), "ridge/bias", (512,))[0]).double() * 0.1
        keys, tested = (torch.relu((part - mean) / spread @ weight + bias) for part in inputs)
        targets = torch.nn.functional.one_hot(torch.from_numpy(data.train_labels)).double()
        gram = keys.T @ keys + torch.eye(512, dtype=torch.float64)
        memory = torch.cholesky_solve(keys.T @ targets, torch.linalg.cholesky(gram))
        scores.append(float(((tested @ memory).argmax(1) == torch.from_numpy(data.test_labels)).double().mean()))
    record = records["hope", "split-digits"]
    assert values(record, "average_accuracy").mean() >= np.mean(scores) - 0.004
    assert values(record, "forgetting").mean() <= 0.010


@pytest.mark.parametrize(("metric", "sign"), [("average_accuracy", 1), ("forgetting", -1)])
def test_hope_beats_mlp_and_cms_on_the_digits(records, make_reference, metric, sign):
    """Paired by seed, one-sided sign-flip tests, Holm over two learners and both streams."""
    p = [
        sign_flip_test(sign * (values(records["hope", stream], metric) - values(records[other, stream], metric)), "greater")
        for other in ("mlp", "cms")
        for stream in make_reference.DIGITS
    ]
    assert holm(np.array(p)).max() < 0.01


def test_the_joint_bound_is_not_below_learners_that_store_no_samples_but_hope(records):
    joint = values(records["joint", "split-digits"], "average_accuracy").mean()
    for model in ("slda", "random-features", "owm", "ewc-online", "si", "cms", "mlp"):
        assert values(records[model, "split-digits"], "average_accuracy").mean() <= joint, model


@pytest.mark.parametrize(("model", "stream"), [("hope", "split-digits")])
def test_learned_parts_beat_frozen_features_of_equal_bytes(records, model, stream):
    learned, frozen = records[model, stream], records["random-features", stream]
    assert sum(learned.bytes().values()) <= 1.05 * sum(frozen.bytes().values())
    difference = values(learned, "average_accuracy") - values(frozen, "average_accuracy")
    assert sign_flip_test(difference, "greater") < 0.01


UNEQUAL = {
    **{(model, "permuted-digits"): 20 for model in ("cms", "cms-headwise", "cms-nested")},
    "cms": 15,
    "cms-headwise": 15,
    "cms-nested": 15,
    ("hope-paper-stream", "split-digits"): 5,
    ("hope-paper-stream", "permuted-digits"): 4,
}
"""Candidates of the searches that were not of twelve: none of these learners is claimed to win."""

NOISE = 0.01
"""A gain on validation that three seeds and a few hundred samples cannot tell from none."""


SEARCHES = [
    pytest.param(path.stem, stream, search, id=f"{path.stem}-{stream}")
    for path in sorted((ROOT / "baselines").glob("*.toml"))
    for stream, search in read_table(path).get("search", {}).items()
]


def agree(value, best):
    """Whether a resolved value is the search's; tables of a list may hold more than the search named."""
    if isinstance(best, list):
        return len(value) == len(best) and all(map(agree, value, best))
    if isinstance(best, dict):
        return all(agree(value[key], part) for key, part in best.items())
    return value == best


@pytest.mark.parametrize(("model", "stream", "search"), SEARCHES)
def test_a_recipe_holds_what_its_search_found_unless_that_is_noise(model, stream, search):
    assert search["budget"] == UNEQUAL.get((model, stream), UNEQUAL.get(model, 12))
    if search["score"] - search.get("score_before", 0.0) > NOISE:
        recipe = nlbench.resolve(model, stream, seeds=1).learner.identity()
        for key, best in search["best"].items():
            value = recipe
            for part in key.split("."):
                value = value[part]
            assert agree(value, best), key
