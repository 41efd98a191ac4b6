"""From records to a comparison: who stands beside whom, under which label, and what is tested."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from nlbench.comparison import statistics
from nlbench.comparison.chance import WORDS, Learned, learned, mean_chance
from nlbench.comparison.costs import COSTS, Flops, affordable, spent
from nlbench.comparison.model import Entry, Estimate, Group, Paired, Ranking, Verdict
from nlbench.comparison.tables import Comparison
from nlbench.errors import ComparisonError, UnknownNameError
from nlbench.escaping import printable
from nlbench.metrics import METRICS, OF_FORGETTING, WITH_CHANCE, known, measure, with_stand_in
from nlbench.records import Record, terms
from nlbench.records.facts import differences, flatten, varying
from nlbench.specs import digest

TESTED: Final = ("average_accuracy", "forgetting")
SHOWN: Final = ("average_accuracy", "learning_accuracy", "forgetting", "intransigence", "gap_closed")
_REFERENCES: Final = {"gain": ("reset",), "intransigence": ("joint",), "gap_closed": ("naive", "joint")}
"""The roles of recipes that each metric needs."""
ALPHA: Final = 0.05
ROUNDING: Final = 1e-9
_MEANS: Final[dict[Learned | None, str]] = {
    "at-chance": "what was not learned cannot be forgotten",
    "not-above-chance": "its forgetting may mean nothing",
}
_RAN_WITH: Final[Mapping[str, Callable[[Record], Iterable[object]]]] = {
    "precision": lambda record: [record.footer.precision],
    "device": lambda record: [run.device for run in record.runs],
    "backend": lambda record: [run.backend for run in record.runs],
    "threads": lambda record: [run.threads for run in record.runs],
    "code": lambda record: [record.footer.source_digest or digest(_shared(record.footer.code))],
}

Values = dict[int, float]  # seed -> value, only where there is one


def _shared(code: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the code that rivals have in common."""
    own = ("learner", "estimator", "network", "module")
    return {part: found for part, found in code.items() if part.partition(".")[0] not in own}


def compare(
    records: Iterable[Record],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    flops: Flops = MappingProxyType({}),
    within: Mapping[str, float] = MappingProxyType({}),
) -> Comparison:
    """Return the learners of each stream side by side: intervals, paired tests against the baseline, ranks and Pareto fronts.

    Records are grouped by stream digest, data and protocol version, and only compared inside a group. `baseline` is a label or a
    recipe name; without one, the record of role `naive` (in float32 if there are several), else the first. `metrics` are those
    tested (default: average_accuracy and forgetting, or forgetting_first on a stream that measures only that) and shown. `flops`
    are training FLOPs by fingerprint, `within` the most that bytes, seconds or flops may be: who takes more, or of whom it is not
    known, is left out and named.
    Cost: about 2 ms a record. Raises ComparisonError or UnknownNameError.
    """
    records = list(records)
    if not records:
        raise ComparisonError("there are no records to compare.")
    records, left_out = affordable(records, within, flops) if within else (records, [])
    metrics = [known(name) for name in metrics] if metrics else metrics
    groups = tuple(_group(members, baseline, metrics, flops) for members in _by_stream(records))
    if baseline is not None and not any(group.baseline for group in groups):
        raise UnknownNameError("learner", baseline, {entry.label for group in groups for entry in group.entries})
    tested = tuple(dict.fromkeys(metric for group in groups for metric in group.metrics))
    overall = {metric: ranking for metric in tested if (ranking := _over_streams(groups, metric))}
    return Comparison(groups, tested, overall, tuple(_mismatches(groups)), left_out=tuple(left_out))


def _chosen(metrics: Sequence[str] | None, measured: Callable[[str], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics to test and those to show; learning accuracy stands beside whatever speaks of forgetting."""
    if metrics is None:
        return with_stand_in(TESTED, measured), with_stand_in(SHOWN, measured)
    beside = ("learning_accuracy",) if OF_FORGETTING & set(metrics) else ()
    return tuple(metrics), tuple(dict.fromkeys([*metrics, *beside]))


def _by_stream(records: Sequence[Record]) -> list[list[Record]]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        said = record.footer
        groups.setdefault((record.stream_digest, tuple(sorted(said.data.items())), said.protocol_version), []).append(record)
    return list(groups.values())


def labels(records: Sequence[Record]) -> list[str]:
    """Return a distinct label for each record of a group.

    The recipe's name and the fields in which it differs from its namesakes.
    """
    declared = [flatten(_declared(record)) for record in records]
    namesakes: dict[str, list[dict[str, Any]]] = {}
    for record, own in zip(records, declared, strict=True):
        namesakes.setdefault(record.model, []).append(own)
    varied = {model: _with_one_code(varying(several)) for model, several in namesakes.items()}
    fields = {model: {field: _shortest(field, found) for field in found} for model, found in varied.items()}
    names = []
    for record, own in zip(records, declared, strict=True):
        differing = printable(",".join(f"{short}={own.get(field)}" for field, short in fields[record.model].items()))
        names.append(record.model if len(namesakes[record.model]) == 1 else f"{record.model}[{differing}]")
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}[{one.fingerprint[:8]}]" for name, one in zip(names, records, strict=True)]


def _with_one_code(fields: Sequence[str]) -> list[str]:
    """Return the fields with `code` in place of its parts where several differ, and without it otherwise."""
    parts = [field for field in fields if field.startswith("code.")]
    left_out = {"code"} if len(parts) < 2 else set(parts)
    return [field for field in fields if field not in left_out]


def _shortest(field: str, fields: Sequence[str]) -> str:
    """Return the shortest ending of a dotted path that no other path shares."""
    parts = field.split(".")
    endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next(
        end for end in endings if end == field or not any(f"x.{other}".endswith(f".{end}") for other in fields if other != field)
    )


def _declared(record: Record) -> dict[str, Any]:
    """Return what may tell namesakes apart: the learner's declaration, else its source, precision and code; its stream's name."""
    said = record.footer
    digests = {"learner_digest": None if said.learner_spec else said.learner_digest, "source_digest": said.source_digest}
    return {
        **said.learner_spec,
        **record.terms,
        "stream": said.stream,
        "precision": said.precision,
        **{key: found[:8] for key, found in digests.items() if found is not None},
        **{f"code.{part}": found[:8] for part, found in said.code.items()},
        **({"code": digest(said.code)[:8]} if said.code else {}),
    }


def _counted_once(records: Sequence[Record], baseline: str | None) -> tuple[list[Record], list[str]]:
    """Return one record a fingerprint, and a note for each left out: the same run under two names is no second learner.

    Of several the baseline stays, else one whose recipe has a role, else the one of most seeds, else the first.
    """
    same: dict[str, list[Record]] = {}
    for record in records:
        same.setdefault(record.fingerprint, []).append(record)
    kept, notes = [], []
    for twins in same.values():
        first = max(twins, key=lambda one: (one.model == baseline, one.footer.role is not None, len(one.seeds)))
        kept.append(first)
        notes += [
            f"{one.model} on {one.stream} is the run of {first.model} on {first.stream}, of one fingerprint: counted once."
            for one in twins
            if one is not first
        ]
    return kept, notes


def _group(records: Sequence[Record], baseline: str | None, metrics: Sequence[str] | None, flops: Flops) -> Group:
    records, repeated = _counted_once(records, baseline)
    named = dict(zip(labels(records), records, strict=True))
    chosen = _baseline(named, baseline)
    measured = {label: _values(record, records) for label, record in named.items()}
    tested, columns = _chosen(metrics, lambda name: any(values[name] for values, _ in measured.values()))
    alike = {metric: _measured_alike(metric, named, chosen) for metric in METRICS}
    compared = {m: {label: measured[label][0][m] for label in alike[m]} for m in tested}
    paired = _paired(compared, chosen)
    entries = [_entry(label, record, *measured[label], paired.get(label, {}), flops) for label, record in named.items()]
    rankings = {metric: ranking for metric, values in compared.items() if (ranking := _over_seeds(values, metric))}
    first = records[0]
    return Group(
        stream=first.stream,
        scenario=first.scenario,
        stream_digest=first.stream_digest,
        protocol_version=first.footer.protocol_version,
        n_tasks=first.n_tasks,
        entries=tuple(_with_fronts(entries)),
        baseline=chosen,
        metrics=tested,
        columns=columns,
        family=sum(len(tests) for tests in paired.values()),
        rankings=rankings,
        notes=(*repeated, *_notes(entries, columns), *_apart(named, alike, dict.fromkeys((*tested, *columns)))),
    )


def _measured_alike(metric: str, named: Mapping[str, Record], baseline: str | None) -> list[str]:
    """Return whose values of a metric can be compared: those measured as often as the baseline's, or else the first one's."""
    first = named[baseline] if baseline is not None else next(iter(named.values()))
    return [label for label, one in named.items() if not terms.measured_unequally(METRICS[metric], first.footer, one.footer)]


def _apart(named: Mapping[str, Record], alike: Mapping[str, Sequence[str]], shown: Iterable[str]) -> list[str]:
    """Return a note for each metric shown of which not all values can be compared."""
    notes = []
    for metric in shown:
        others = [label for label in named if label not in alike[metric]]
        if others:
            first, other = named[alike[metric][0]], named[others[0]]
            how = terms.measured_unequally(METRICS[metric], first.footer, other.footer)
            notes.append(f"{metric} of {', '.join(others)} is not compared: {how} ({alike[metric][0]} / {others[0]}).")
    return notes


def _baseline(named: Mapping[str, Record], wanted: str | None) -> str | None:
    if wanted in named:
        return wanted
    of_recipe = [
        label
        for label, record in named.items()
        if (record.model == wanted if wanted is not None else record.footer.role == "naive")
    ]
    if wanted is not None and len(of_recipe) > 1:
        raise ComparisonError(f"several learners are called {wanted}.", f"Choose one as the baseline: {', '.join(of_recipe)}.")
    if of_recipe:
        return min(of_recipe, key=lambda label: named[label].footer.precision != "float32")
    return None if wanted is not None or len(named) < 2 else next(iter(named))


def _values(record: Record, records: Sequence[Record]) -> tuple[dict[str, Values], dict[str, str]]:
    """Return every metric's values by seed, and the reason for each metric that has none."""
    values: dict[str, Values] = {}
    reasons: dict[str, str] = {}
    for name, metric in METRICS.items():
        found = record.metric(name) if metric.needs != "references" else _against_references(name, record, records, reasons)
        values[name] = {seed: value for seed, value in found.items() if value is not None}
    return values, reasons


def _against_references(
    name: str, record: Record, records: Sequence[Record], reasons: dict[str, str]
) -> Mapping[int, float | None]:
    """Return a metric of several records on the seeds that the record shares with its references: the records of recipes of the
    role, and of several those of the record's own network, precision and terms.
    """
    references = []
    for role in _REFERENCES[name]:
        found = [other for other in records if other.footer.role == role]
        found = [other for other in found if _network(other) == _network(record)] or found
        if len(found) > 1:
            found = [other for other in found if other.footer.precision == record.footer.precision]
        if len(found) > 1:
            found = [other for other in found if other.terms == record.terms]
        if len(found) != 1:
            reasons[name] = f"needs one record on this stream whose recipe says role = {role}, there are {len(found)}"
            return {}
        references.append(found[0])
    common = set(record.seeds).intersection(*(reference.seeds for reference in references))
    measured = {
        s: measure(METRICS[name], (record.accuracy(s), *(r.accuracy(s) for r in references)), conflict=record.footer.conflict)
        for s in sorted(common)
    }
    if not any(value.value is not None for value in measured.values()):
        reasons[name] = next((value.reason for value in measured.values()), "needs seeds in common with its references")
    return {seed: value.value for seed, value in measured.items()}


def _network(record: Record) -> Any:
    """Return the network that a record's learner says it has; None where it says none."""
    learner = record.footer.learner_spec.get("learner")
    return learner.get("network") if isinstance(learner, dict) else None


def _entry(
    label: str,
    record: Record,
    values: dict[str, Values],
    reasons: dict[str, str],
    paired: Mapping[str, Paired],
    flops: Flops,
) -> Entry:
    return Entry(
        label=label,
        record=record,
        estimates={
            name: dataclasses.replace(
                _estimate(name, found, lambda name=name: reasons.get(name) or record.reason(name)),
                chance=mean_chance(record, name),
            )
            for name, found in values.items()
        },
        learned=learned(record),
        **spent(record, flops),
        paired=paired,
        on_front={},
    )


def _estimate(metric: str, values: Values, reason: Any) -> Estimate:
    if not values:
        return Estimate(None, None, None, None, 0, reason())
    interval = statistics.mean_interval(np.array(list(values.values())), within=METRICS[metric].range)
    if interval.n < 2:
        return Estimate(interval.mean, None, None, None, interval.n)
    return Estimate(interval.mean, interval.low, interval.high, interval.sd, interval.n)


def _paired(compared: Mapping[str, Mapping[str, Values]], baseline: str | None) -> dict[str, dict[str, Paired]]:
    """Return the paired test of each learner against the baseline in each metric, Holm-corrected over all of them; `compared` are
    the values by metric and learner.
    """
    if baseline is None:
        return {}
    family: list[tuple[str, str, np.ndarray]] = []
    for metric, values in compared.items():
        for label, own in values.items():
            common = sorted(own.keys() & values[baseline].keys())
            if label != baseline and common:
                family.append((label, metric, np.array([own[seed] - values[baseline][seed] for seed in common])))
    p_values = np.array([statistics.sign_flip_test(found) for _, _, found in family])
    paired: dict[str, dict[str, Paired]] = {}
    for (label, metric, found), p, p_holm in zip(family, p_values, statistics.holm(p_values), strict=True):
        paired.setdefault(label, {})[metric] = _test(found, metric, float(p), float(p_holm), len(family))
    return paired


def _test(differences_: np.ndarray, metric: str, p: float, p_holm: float, family: int) -> Paired:
    low, high = METRICS[metric].range
    interval = statistics.mean_interval(differences_, within=(low - high, high - low))
    single = interval.n < 2
    verdict = _verdict(interval.mean, metric, p_holm, statistics.smallest_p(interval.n) * family)
    needed = None if verdict in ("better", "worse") else statistics.seeds_to_tell(differences_, tests=family, alpha=ALPHA)
    return Paired(
        mean=interval.mean,
        low=None if single else interval.low,
        high=None if single else interval.high,
        n=interval.n,
        p=p,
        p_holm=p_holm,
        p_t=None if single else statistics.t_test(differences_),
        effect=statistics.effect_size(differences_),
        verdict=verdict,
        seeds_to_tell=needed,
    )


def _verdict(difference: float, metric: str, p_holm: float, attainable: float) -> Verdict:
    if p_holm <= ALPHA:
        return "better" if (difference > 0) == (METRICS[metric].better == "higher") else "worse"
    return "too few seeds to tell" if attainable > ALPHA else "undecided"


def _with_fronts(entries: Sequence[Entry]) -> list[Entry]:
    fronts: dict[str, dict[str, bool]] = {entry.label: {} for entry in entries}
    for cost in COSTS:
        placed = [(e.label, e.estimates["average_accuracy"].mean, getattr(e, cost)) for e in entries]
        whole = [(label, gain, spent) for label, gain, spent in placed if gain is not None and spent is not None]
        if whole:
            gain, spent = np.array([[g, s] for _, g, s in whole]).T
            for (label, _, _), on_front in zip(whole, statistics.pareto_front(gain, spent), strict=True):
                fronts[label][cost] = bool(on_front)
    return [dataclasses.replace(entry, on_front=fronts[entry.label]) for entry in entries]


def _over_seeds(values: Mapping[str, Values], metric: str) -> Ranking | None:
    common = sorted(set.intersection(*(set(found) for found in values.values())))
    return _ranking({label: [found[seed] for seed in common] for label, found in values.items()}, metric, "seeds")


def _over_streams(groups: Sequence[Group], metric: str) -> Ranking | None:
    """Rank the learners found in every group that tests the metric by their means, groups as blocks: Demšar 2006."""
    tested = [group for group in groups if metric in group.metrics]
    alike = [_measured_alike(metric, {e.label: e.record for e in group.entries}, group.baseline) for group in tested]
    means = [
        {e.label: mean for e in group.entries if e.label in labels and (mean := e.estimates[metric].mean) is not None}
        for group, labels in zip(tested, alike, strict=True)
    ]
    everywhere = [label for label in means[0] if all(label in found for found in means)]
    return _ranking({label: [found[label] for found in means] for label in everywhere}, metric, "streams")


def _ranking(values: Mapping[str, Sequence[float]], metric: str, of: Any) -> Ranking | None:
    if len(values) < 2 or (blocks := len(next(iter(values.values())))) < 2:
        return None
    sign = -1 if METRICS[metric].better == "higher" else 1
    table = sign * np.array(list(values.values())).T
    mean_ranks = statistics.ranks(table).mean(0)
    return Ranking(
        ranks=dict(zip(values, mean_ranks.tolist(), strict=True)),
        p=statistics.friedman_test(table),
        critical_difference=statistics.critical_difference(len(values), blocks, ALPHA),
        blocks=blocks,
        of=of,
    )


def _notes(entries: Sequence[Entry], columns: Sequence[str]) -> list[str]:
    """Return what a reader of the group must know: an order of classes that is not the usual one, learners at chance, nulls,
    bounds that are none, unequal seeds, and executions that differ.
    """
    notes = [f"{order}." for order in [entry.record.class_order for entry in entries if entry.record.class_order][:1]]
    notes += [f"{e.label} is {WORDS[e.learned]}: {_MEANS[e.learned]}." for e in entries if e.learned in _MEANS]
    for metric in (name for name in columns if name in WITH_CHANCE):
        if silent := [e.label for e in entries if e.estimates[metric].chance is None and e.estimates[metric].n]:
            notes.append(f"chance of {metric} is null for {', '.join(silent)}: its record is older and does not say it.")
    for metric in columns:
        reasons: dict[str, list[str]] = {}
        for entry in entries:
            if entry.estimates[metric].mean is None:
                reasons.setdefault(entry.estimates[metric].reason, []).append(entry.label)
        notes += [f"{metric} is null for {', '.join(without)}: {reason}." for reason, without in reasons.items()]
    gaps = {e.label: e.estimates["gap_closed"].mean for e in entries} if "gap_closed" in columns else {}
    if beyond := [label for label, gap in gaps.items() if gap is not None and gap > 1 + ROUNDING]:
        notes.append(
            f"gap_closed is above 1 for {', '.join(beyond)}: joint training as recorded is no upper bound for them. "
            "Give it more passes or a better network."
        )
    if len({entry.record.seeds for entry in entries}) > 1:
        alike = len({len(entry.record.seeds) for entry in entries}) == 1
        told = (", ".join(map(str, e.record.seeds)) if alike else len(e.record.seeds) for e in entries)
        which = "; ".join(f"{e.label}: {seeds}" for e, seeds in zip(entries, told, strict=True))
        notes.append(f"seeds differ ({which}): pairs use common seeds.")
    if lost := [f"{e.label} {', '.join(map(str, e.record.footer.lost))}" for e in entries if e.record.footer.lost]:
        notes.append(f"diverged and left out, so that the mean is over seeds that did not: {'; '.join(lost)}.")
    if found := terms.unequal([entry.record.terms for entry in entries]):
        notes.append(f"unequal terms: {found}.")
    if outside := [e.label for e in entries if not all(run.environment.in_repository for run in e.record.runs)]:
        notes.append(f"no commit says which code made {', '.join(outside)}.")
    for key, said in _RAN_WITH.items():
        ran = {e.label: " and ".join(dict.fromkeys(str(value)[:24] for value in said(e.record))) for e in entries}
        if len(set(ran.values())) > 1:
            notes.append(f"{key} differs: " + "; ".join(f"{label}: {value}" for label, value in ran.items()) + ".")
    return notes


def _mismatches(groups: Sequence[Group]) -> list[str]:
    """Return, for groups of one stream name, which fact keeps them apart."""
    first: dict[str, Group] = {}
    found = []
    for group in groups:
        other = first.setdefault(group.stream, group)
        if other is not group:
            facts = [_stream_facts(g.entries[0].record) for g in (other, group)]
            what = "; ".join(map(str, differences(*facts))) or f"stream_digest: {other.stream_digest} / {group.stream_digest}"
            both = {e.label for e in other.entries} & {e.label for e in group.entries}
            names = [", ".join(_told_apart(e, both) for e in g.entries) for g in (other, group)]
            found.append(f"{group.stream}: {names[0]} and {names[1]} cannot be compared: {what}")
    return found


def _told_apart(entry: Entry, both: Collection[str]) -> str:
    """Return the label of a learner, with its file where that alone tells it from another of its name."""
    return f"{entry.label} ({entry.record.path})" if entry.label in both else entry.label


def _stream_facts(record: Record) -> dict[str, Any]:
    said = record.footer
    return {
        "stream_spec": terms.stream(said),
        "scenario": said.scenario,
        "data": said.data,
        "protocol_version": said.protocol_version,
    }
