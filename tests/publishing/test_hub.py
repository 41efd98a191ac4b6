"""The data set for the hub: records as they are, and a card that names them."""

from __future__ import annotations

import re

import pyarrow.parquet as pq
import yaml

from nlbench.comparison import compare
from nlbench.publishing import hub
from nlbench.records import SCHEMA
from nlbench.records.tools import superseded


def test_the_card_leads_to_records_and_leaderboard(records, tmp_path):
    folder, count = hub(records, tmp_path / "dataset")
    assert count == len(records)
    card = (folder / "README.md").read_text(encoding="utf-8")
    facts = yaml.safe_load(card.split("---")[1])
    found = {each["config_name"]: sorted(folder.glob(each["data_files"])) for each in facts["configs"]}
    assert {path.read_bytes() for path in found["records"]} == {record.path.read_bytes() for record in records}
    assert all(
        pq.read_schema(path).names == SCHEMA.names for path in found["records"]
    )  # so that the hub takes them for one table
    assert [path.name for path in found["leaderboard"]] == ["leaderboard.parquet"]
    assert compare([record for record in records if record not in superseded(records)]).to_markdown().strip() in card


def test_names_from_records_are_text_in_the_card(records, tmp_path):
    card = (hub(records, tmp_path / "dataset")[0] / "README.md").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in card
    assert not re.search("<script", card)
