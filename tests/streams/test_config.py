"""What a stream's table may say: rules between its keys, with the key that is to blame."""

from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import stream_spec


def spec(**stream):
    table = {"title": "t", "stream": {"source": "digits", "scenario": "class-il", **stream}, "protocol": {"batch": 8}}
    return stream_spec(table, "t.toml")


def test_a_stream_finds_its_data_set():
    assert spec(kind="split", tasks=5).stream.found.n_classes == 10


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"kind": "split", "tasks": 3}, r"stream\.tasks: must divide the 10 classes of digits, got 3"),
        ({"kind": "split", "tasks": 5, "class_order": "seed"}, r"stream\.class_order: \"seed\" needs train_quota and test_quota"),
        ({"kind": "split", "tasks": 5, "source": "digit"}, r"did you mean digits"),
        ({"kind": "rotated", "tasks": 2, "degrees": 360.0}, r"stream\.degrees: .*360"),
        ({"kind": "permuted", "tasks": 0}, r"stream\.tasks: .*0"),
        ({"kind": "twisted", "tasks": 2}, r"stream\.kind: must be one of .*got 'twisted'"),
    ],
)
def test_broken_rules_name_key_rule_and_value(stream, message):
    with pytest.raises(SpecError, match=message):
        spec(**stream)


def test_quotas_make_an_order_by_seed_possible():
    assert spec(kind="split", tasks=5, class_order="seed", train_quota=10, test_quota=5).stream.train_quota == 10
