"""The chart on a real cluster: a stream under drills, compared with a matcher that nobody touches.

`python -m tests.chart.cluster` runs every drill.
"""

from tests.chart.cluster import driver
from tests.chart.cluster.drills import SHORT
from tests.chart.cluster.kube import Namespace
from tests.chart.cluster.run import drilled, faults, table


def test_a_release_tells_each_change_once_whatever_is_done_to_it(cluster: Namespace) -> None:
    judged = drilled(cluster, SHORT, per_second=20.0)
    assert faults(judged) == []
    assert judged["events"] > 50, table(judged)
    assert judged["f1"] > 0.5


def test_the_comparison_can_fail() -> None:
    told = [driver.Event(f"c:{n}", _event(n), float(n)) for n in (1, 2, 3)]
    people = {f"r{n}": 0 for n in range(4)}
    whole = driver.judged(told, told, {}, people) | {"helm_test": "Succeeded"}
    assert faults(whole) == []
    lost = driver.judged([told[0], told[2], told[2]], told, {}, people) | {"helm_test": "Succeeded"}
    assert [fault.partition(":")[0] for fault in faults(lost)] == ["lost", "doubled", "gaps", CLUSTERS]


CLUSTERS = "clusters differ from those of a matcher that nobody touched"


def _event(version: int) -> bytes:
    return (
        b'{"id": "c:%d", "data": {"kind": "joined", "cluster_id": "c", "version": %d, "added": ["r%d"], "removed": []}}'
        % (version, version, version)
    )
