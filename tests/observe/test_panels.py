"""Every query of every panel, asked of a real Prometheus that has watched the demo and a deployment on a real Kafka."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import provided
from tests.deployment import Process, wait_until
from tests.observe.goods import Goods
from tests.observe.prometheus import Prometheus, prometheus
from tests.observe.rules import Panel, panels
from tests.services import _free_port

RATE_INTERVAL = "15s"
DEMO_RECORDS, DEMO_SECONDS = 10_000, 240.0
"""A rate needs a scrape from before the records: one that is decided between two scrapes of a second has none."""
PANELS = list(panels())
NOWHERE = {("Memory", "B"): "the limit of a container: the processes here have none"}
"""(panel, target) → why it has no data in a test."""
NO_NEWS = {
    "Waiting for Redis or Kafka",
    "Partitions without a matcher",
    "Vectors passed over as old",
    "Snapshots that failed, last hour",
    "Partitions lost, last hour",
    "Standby: messages behind",
    "Encoders that fell back to the processor",
    "Records that wait to be judged again",
}
"""Panels whose data is 0 as long as all is well; what makes each of them rise is in `tests.observe.provocations`."""
NOT_IN_THE_DEMO = {
    "Pictures per hour, by outcome": "signups have no pictures",
    "Time of snapshots, p95": "it ends before its first snapshot",
}
"""Panels that the demo leaves empty, and why."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was scraped, and when."""

    prometheus: Prometheus
    goods: str
    start: float
    end: float

    def values(self, query: str, job: str) -> list[float]:
        """The finite values that a query had in this time, with the dashboard's variables filled in."""
        filled = query.replace("$__rate_interval", RATE_INTERVAL).replace("$job", job)
        assert "$" not in filled, f"a variable is not filled in: {filled}"
        return self.prometheus.over(filled, self.start, self.end)


@pytest.fixture(scope="module")
def watching() -> Iterator[Prometheus]:
    yield from provided(prometheus)


@pytest.fixture(scope="module")
def watched(
    watching: Prometheus, kafka_servers: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("panels")
    start = time.time()
    port = _free_port()
    watching.watch("demo", port)
    demo = Process({}, folder / "demo", "demo", "--serve", "--port", str(port), "--records", str(DEMO_RECORDS))
    goods = Goods(f"goods-{port}", kafka_servers, redis_url, folder, watching)
    try:
        goods.start()
        goods.happens()
        goods.restart()
        decided = f'sum(dedup_decided_total{{job="demo"}}) >= {DEMO_RECORDS}'
        wait_until(lambda: bool(watching.ask(decided)), f"the demo is through; it says\n{demo.stderr}", DEMO_SECONDS)
        yield Watched(watching, goods.deployment.name, start, time.time())
    finally:
        demo.stop()  # not killed: its Redis ends with it
        goods.deployment.close()


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_a_panel_has_data(watched: Watched, panel: Panel) -> None:
    for target in panel.content["targets"]:
        if (panel.title, target["refId"]) in NOWHERE:
            continue
        values = watched.values(target["expr"], ".*")
        assert values, target["expr"]
        if panel.title not in NO_NEWS:
            assert any(values), f"0 all the time: {target['expr']}"


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_a_panel_has_data_of_the_demo(watched: Watched, panel: Panel) -> None:
    queries = {target["expr"] for target in panel.content["targets"] if (panel.title, target["refId"]) not in NOWHERE}
    empty = {query for query in queries if not watched.values(query, "demo")}
    assert empty == (queries if panel.title in NOT_IN_THE_DEMO else set())


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_one_deployment_can_be_looked_at_alone(watched: Watched, panel: Panel) -> None:
    """Every query heeds the variable `job`."""
    for query in panel.queries:
        assert not watched.values(query, "no-such-job")
