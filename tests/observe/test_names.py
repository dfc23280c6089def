"""Metrics by their names: what alerts and dashboards ask for is there, and what is there is asked for."""

import sys
from collections.abc import Iterator

import pytest
from prometheus_client.metrics import MetricWrapperBase

from consumer.metrics import METRICS
from tests.observe.promql import selectors
from tests.observe.rules import alerts, panels

OF_PROMETHEUS = {"up"}
OF_THE_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}
OF_TARGETS = {"job", "instance", "namespace"}
NOT_SHOWN = {
    "process_virtual_memory_bytes": "comes with the others of the process; resident memory is what a limit counts",
}


def samples() -> dict[str, set[str]]:
    """Name of every sample that a process may show → its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(METRICS).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            for family in metric.describe():
                if family.type == "counter":
                    found[f"{family.name}_total"] = labels
                elif family.type == "histogram":
                    found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
                    found[f"{family.name}_bucket"] = labels | {"le"}
                else:
                    found[family.name] = labels
    return found | {name: set() for name in OF_THE_PROCESS}


def queries() -> Iterator[tuple[str, str]]:
    """(where, query) of all that ships."""
    yield from ((name, rule["expr"]) for name, rule in alerts().items())
    yield from ((str(panel), query) for panel in panels() for query in panel.queries)


SAMPLES = samples()
QUERIES = list(queries())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_what_is_asked_for_is_there(where: str, query: str) -> None:
    asked = list(selectors(query))
    assert asked, f"{where}: asks for nothing"
    for name, labels in asked:
        assert name in SAMPLES.keys() | OF_PROMETHEUS
        assert labels <= SAMPLES.get(name, set()) | OF_TARGETS, f"{name} has no such label"


def test_what_is_there_is_asked_for() -> None:
    asked = {name for _, query in QUERIES for name, _ in selectors(query)}
    families: dict[str, bool] = {}
    for name in SAMPLES:
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        families[family] = families.get(family, False) or name in asked
    unasked = {family for family, seen in families.items() if not seen}
    assert unasked == NOT_SHOWN.keys(), "metrics that neither an alert nor a panel uses, less those with a reason"


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_process_shows_what_it_uses() -> None:
    shown = {sample.name: sample.value for family in METRICS.registry.collect() for sample in family.samples}
    assert {name for name in shown if name.startswith("process_")} == OF_THE_PROCESS
    assert all(shown[name] > 0 for name in OF_THE_PROCESS)
