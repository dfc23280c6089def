"""Drills under a running stream, one after the other, and what a subscriber and the store saw of them."""

import sys
from collections.abc import Sequence
from typing import Any

from tests.chart.cluster.drills import DRILLS
from tests.chart.cluster.kube import Namespace
from tests.chart.cluster.release import HelmError, Release, Stream

_PROMISES = ("lost", "doubled", "unexpected", "different", "gaps")


def drilled(space: Namespace, names: Sequence[str], per_second: float) -> dict[str, Any]:
    """Install all, drill, and judge; as `driver.judged`, with what `helm test` said beside it."""
    release = Release(space)
    release.install_services()
    release.install()
    stream = Stream(space)
    stream.start(per_second)
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        stream.mark(name)
        DRILLS[name](release)
    judged = stream.finish()
    try:
        release.helm("test", "dedup", "--logs", "--timeout", "3m")
    except HelmError as error:
        return {**judged, "helm_test": str(error)}
    return {**judged, "helm_test": "Succeeded"}


def faults(judged: dict[str, Any]) -> list[str]:
    """What was promised and did not hold."""
    found = [f"{promise}: {judged[promise][:5]}" for promise in _PROMISES if judged[promise]]
    if not judged["same_clusters"]:
        found.append("clusters differ from those of a matcher that nobody touched")
    if judged["helm_test"] != "Succeeded":
        found.append(judged["helm_test"])
    return found


def table(judged: dict[str, Any]) -> str:
    """Markdown."""
    head = "| drill | seconds | events | median wait, s | longest wait, s |\n|---|--:|--:|--:|--:|"
    rows = [
        f"| {w['name']} | {w['seconds']:.0f} | {w['events']} | {_shown(w['median_wait_seconds'])} | "
        f"{_shown(w['longest_wait_seconds'])} |"
        for w in judged["windows"]
    ]
    return "\n".join([head, *rows])


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"
