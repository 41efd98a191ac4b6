"""A stream's version is the name that people use for its digest: where the digest changes, so does the version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlbench import catalog, plan
from nlbench.errors import DataError, NlbenchError

DIGESTS = Path(__file__).parent / "data/stream_digests.json"


def shipped() -> dict[str, str | None]:
    """Return the digest of each shipped stream by name@version; null where it cannot be told without the data."""
    plans = [plan.resolve("chance", name, seeds=(0,)) for name in catalog.names("stream")]
    return {f"{each.stream_name}@{each.stream.version}": digest(each.declared) for each in plans}


def digest(declared: plan.DeclaredStream) -> str | None:
    try:
        return declared.digest
    except DataError:
        return None


def test_each_version_of_a_stream_has_one_digest_for_ever():
    """A changed stream gets `version = N + 1` in its file and a line here; no line is ever changed."""
    known = json.loads(DIGESTS.read_text(encoding="utf-8"))
    found = shipped()
    assert found.keys() <= known.keys()
    assert {name: told for name, told in found.items() if None not in (told, known[name]) and told != known[name]} == {}
    versions: dict[str, list[int]] = {}
    for name in known:
        stream, _, version = name.partition("@")
        versions.setdefault(stream, []).append(int(version))
    for name in found:
        stream, _, version = name.partition("@")
        assert sorted(versions[stream]) == list(range(1, int(version) + 1))


def test_a_stream_is_named_with_its_version():
    named = plan.resolve("mlp", "split-digits@1", seeds=(0,))
    assert (named.stream_name, named.fingerprint) == ("split-digits", plan.resolve("mlp", "split-digits", seeds=(0,)).fingerprint)
    with pytest.raises(NlbenchError, match=r"split-digits@7: this version of nlbench has split-digits@1"):
        plan.resolve("mlp", "split-digits@7", seeds=(0,))


def test_a_file_may_say_its_version_which_is_no_part_of_what_it_is(tmp_path):
    text = (catalog.ROOT / "tasks/split-digits.toml").read_text(encoding="utf-8")
    (tmp_path / "own@home.toml").write_text(f"version = 3\n{text}")
    own = plan.resolve("mlp", str(tmp_path / "own@home.toml"), seeds=(0,))
    assert own.stream.version == 3
    assert own.declared.digest == plan.resolve("mlp", "split-digits", seeds=(0,)).declared.digest
