"""One model under many class orders: the extremes that a search finds, and some that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from nlbench.api.running import options, resolve
from nlbench.api.sweeping import EngineName
from nlbench.api.sweeping import engine as engine_of
from nlbench.launching import running_half
from nlbench.places import place
from nlbench.plan import Plan, RunOptions
from nlbench.sweep import Engine, Outcome, sweep
from nlbench.sweep.orders import KEY, Found, Order, Spread, found_of, orders_of, spread

__all__ = ["Found", "Order", "Spread", "orders", "spread"]


def orders(
    models: Sequence[object],
    stream: str,
    *,
    seeds: int | str | Sequence[int] = 5,
    drawn: int = 5,
    overrides: Mapping[str, str] | None = None,
    results: str | Path = "results/orders",
    engine: Engine | EngineName = "here",
    listen: Callable[[Outcome], None] | None = None,
    **chosen: Unpack[RunOptions],
) -> list[Found]:
    """Return what models come to under the class orders of a split stream: the usual one, the two extremes, and `drawn` others
    (EDGE, arXiv 2509.22580). `spread` of one model's says how far apart they lie.

    results  where each run is recorded, its order in the record; what is there is not run again
    listen   called with what became of each run
    chosen   precision, device, backend, data, threads: as in `nlbench.run`
    Raises `NlbenchError` for a stream that deals out no classes, `InterruptedRunError` when a signal came: the same call goes on.
    """
    running_half()
    precision = chosen.get("precision", "float32")
    machine = options(
        device=chosen.get("device", "auto"),
        backend=chosen.get("backend", "auto"),
        data=chosen.get("data"),
        threads=chosen.get("threads"),
    )
    runs_on = engine_of(engine, threads=machine.threads, device=machine.device) if isinstance(engine, str) else engine

    def planned(model: object, more: Mapping[str, str]) -> Plan:
        return resolve(model, stream, seeds=seeds, overrides={**(overrides or {}), **more}, precision=precision)

    tried = orders_of(planned(models[0], {}), drawn, machine.data)
    plans = [{order: planned(model, {KEY: order.text}) for order in tried} for model in models]
    folder = place(results)
    for outcome in sweep([plan for of_model in plans for plan in of_model.values()], folder, runs_on, machine):
        if listen is not None:
            listen(outcome)
    return [found for of_model in plans for found in found_of(of_model, folder)]
