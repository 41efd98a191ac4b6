"""What of a run Python alone can give again: an object, a class of a session, arrays; and the call that does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nlbench import catalog
from nlbench.closure import MAIN, OBJECT
from nlbench.records import Record, terms
from nlbench.specs import learner_spec, read_table, recipes


class Given(NamedTuple):
    """What of a record's run was given in Python, each as a call there writes it; empty where it was not."""

    model: str = ""
    stream: str = ""

    def remark(self, record: Record) -> str:
        """Return that it was, and how Python runs it again and compares."""
        here = {"model": self.model, "stream": self.stream}
        words = [f"{name}={said}" for name, said in here.items() if said]
        what = " and ".join(said.partition("(")[0] if name == "model" else "the stream" for name, said in here.items() if said)
        again = ", ".join([json.dumps(str(record.path), ensure_ascii=False), *words])
        was = "was" if len(words) == 1 else "were"
        return f"{what} {was} given in Python; there, nlbench.api.rerun({again}) runs it again and compares."


def given(record: Record) -> Given:
    """Return what of a record's run was given in Python."""
    said = terms.stream(record.footer).get("stream", {})
    arrays = said.get("kind") == "arrays" and not said.get("source")
    return Given(_model(record), f"nlbench.stream_from_arrays({json.dumps(record.stream)}, …)" if arrays else "")


def _model(record: Record) -> str:
    learner = record.footer.learner_spec.get("learner", {})
    if record.model in catalog.names("model") or not record.model.isidentifier() or not isinstance(learner, Mapping):
        return ""
    kind, builds = learner.get("kind"), list(_built(learner))
    if any(text.endswith(OBJECT) for text in builds):
        return f"{record.model}(…)"
    of_session = any(str(text).startswith(f"{MAIN}:") for text in (kind, *builds))
    return record.model if of_session or record.model in [text.rpartition(":")[2] for text in builds] else ""


def _built(learner: Mapping[str, Any]) -> Iterator[str]:
    network = learner.get("network")
    for table in (learner, network if isinstance(network, Mapping) else {}):
        if isinstance(text := table.get("build"), str):
            yield text


def unset(record: Record, found: Given) -> dict[str, Any]:
    """Return what the learner of a run of what was given in Python is where no value of it is set; nothing where that cannot be
    said.
    """
    if found.stream and record.model in catalog.names("model"):
        path = catalog.find("model", record.model)
        return learner_spec(recipes.merged(read_table(path), ()), str(path), name=record.model).identity()
    if not found.model:
        return {}
    learner = record.footer.learner_spec["learner"]
    table = {key: learner[key] for key in ("kind", "build") if key in learner}
    if _is_module(learner):
        table["network"] = {key: value for key, value in learner["network"].items() if key in ("kind", "build")}
    return learner_spec({"learner": table}, record.model, name=record.model).identity()


def _is_module(learner: Mapping[str, Any]) -> bool:
    network = learner.get("network")
    return isinstance(network, Mapping) and "build" in network


def call(record: Record, found: Given, model: str, stream: str, overrides: Mapping[str, str]) -> str:
    """Return the call that makes a record again; `model` and `stream` name what was not given in Python."""
    words = [found.model or json.dumps(model), found.stream or json.dumps(stream)]
    count = len(record.seeds)
    words.append(f"seeds={count if record.seeds == tuple(range(count)) else list(record.seeds)}")
    if record.footer.precision != "float32":
        words.append(f"precision={json.dumps(record.footer.precision)}")
    learner = record.footer.learner_spec.get("learner", {})
    if found.model and _is_module(learner) and learner.get("kind") != "naive":  # as which a module is run where nothing is said
        overrides = {"learner.kind": str(learner.get("kind")), **overrides}
    if overrides:
        words.append(f"overrides={json.dumps(dict(overrides), ensure_ascii=False)}")
    return f"nlbench.run({', '.join(words)})"
