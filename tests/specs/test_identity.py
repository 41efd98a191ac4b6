"""Digests of what a stream is and of what decides a run's numbers: the same facts, the same digest; each fact counts."""

from __future__ import annotations

import pytest

from nlbench.specs.identity import FINGERPRINTED, fingerprint, placeless, stream_digest

FACTS = {name: {"a": 1} for name in FINGERPRINTED}


@pytest.mark.parametrize("name", FINGERPRINTED)
def test_every_fact_that_decides_numbers_counts(name):
    assert fingerprint({**FACTS, name: {"a": 2}}) != fingerprint(FACTS)


def test_names_seeds_and_machines_do_not_count():
    assert fingerprint({**FACTS, "model": "x", "seeds": [1], "backend": "numba", "threads": 2}) == fingerprint(FACTS)


def test_a_fact_that_is_missing_is_no_default():
    with pytest.raises(KeyError):
        fingerprint({name: value for name, value in FACTS.items() if name != "terms"})


def test_a_stream_is_its_declaration_and_its_data():
    spec, data = {"stream": {"kind": "split", "tasks": 5}}, {"digits": "1"}
    assert stream_digest(spec, data) == stream_digest(dict(spec), dict(data))
    assert stream_digest(spec, {"digits": "2"}) != stream_digest(spec, data)
    assert stream_digest({"stream": {"kind": "split", "tasks": 2}}, data) != stream_digest(spec, data)


def test_a_file_is_named_without_its_folder() -> None:
    said = {"kind": "./my folder/a.py:A", "network": {"kind": "..\\b.py:B", "sizes": (1, 2)}, "other": "a/b"}
    assert placeless(said) == {
        "kind": "a.py:A",
        "network": {"kind": "b.py:B", "sizes": [1, 2]},
        "other": "a/b",
    }
