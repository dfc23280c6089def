"""A deployment on which everything happens that the dashboards show: offers with pictures, words, erasures, a restart."""

import base64
import time
from pathlib import Path
from typing import Any

from tests.deployment import QUICK_SESSIONS, Deployment, Process, wait_until
from tests.observe.prometheus import Prometheus
from tests.pictures import encoded, photo
from tests.services import ROOT, _free_port

LISTING = ROOT / "consumer" / "profiles" / "listing.yaml"
FUSION = {"duplicate": 0.8, "possible": 0.3, "slope": 15, "min_evidence": 0.12}
"""That of the profile, but people are asked about far more pairs."""
OFFERS = 60
_LOOK_SECONDS = 2.0
"""Twice as long as from one scrape to the next."""
RETURNED = 4
"""Records that are erased, and come again."""


class Goods:
    """An encoder, two matchers that stand by for one another, and what is sent to them."""

    def __init__(self, name: str, kafka: str, redis: str, folder: Path, prometheus: Prometheus) -> None:
        self.deployment = Deployment(name, kafka, redis, folder, LISTING, fusion=FUSION)
        self.deployment.environment |= {
            "DEDUP_TOPICS__PARTITIONS": "1",
            "DEDUP_STATE__SNAPSHOT_RECORDS": "20",
            "DEDUP_MATCHING__REINGEST": "deny",
            **QUICK_SESSIONS,
        }
        self._prometheus = prometheus
        self._matchers: dict[str, tuple[Process, int]] = {}

    def start(self) -> None:
        encoder = self.deployment.start("encode")
        for name in "ab":
            self._start(name, _free_port())
        encoder.wait_ready()
        self._prometheus.watch(self.deployment.name, encoder.port)
        for matcher, port in self._matchers.values():
            matcher.wait_ready()
            self._prometheus.watch(self.deployment.name, port)
        # else what is counted before the first look has never increased
        reached = f'sum(up{{job="{self.deployment.name}"}}) == 3'
        wait_until(lambda: bool(self._prometheus.ask(reached)), "Prometheus reaches all three")

    def _start(self, name: str, port: int) -> None:
        own = {"DEDUP_STATE__STANDBY": "true", "DEDUP_STATE__DIRECTORY": str(self.deployment.folder / name)}
        self._matchers[name] = self.deployment.start("match", DEDUP_HTTP__PORT=str(port), **own), port

    def happens(self) -> None:
        """All of it; returns when it is through."""
        for n in range(OFFERS):
            self._offer(f"a-{n}", n)
        self._settle()
        for n in range(OFFERS // 2):
            self._offer(f"b-{n}", n)
        for n in range(OFFERS // 2, OFFERS):
            self._offer(f"c-{n}", n, image=None, image_uri=f"https://example.org/{n}.jpg")
        self._settle()
        for n in range(0, OFFERS // 2, 2):
            self._say(f"a-{n}", f"a-{n + 1}", "same" if n % 4 else "different")
        for n in range(RETURNED):
            self.deployment.send(f"b-{n}", None)
        self._settle()
        for n in range(RETURNED):
            self._offer(f"b-{n}", n)
        self._settle()
        for n in range(20):
            self.deployment.send(f"bad-{n}", b"{")
        self._settle()

    def restart(self) -> None:
        """Kill the owner of the partition; its standby goes on, and it comes back from its snapshot."""
        last = f'sum(dedup_denied_total{{job="{self.deployment.name}"}}) >= {RETURNED}'
        wait_until(lambda: bool(self._prometheus.ask(last)), "what happened is scraped")
        owner = next(n for n, (p, _) in self._matchers.items() if p.metric("dedup_assigned_partitions") == 1)
        process, port = self._matchers[owner]
        (other,) = (p for name, (p, _) in self._matchers.items() if name != owner)
        process.kill()
        wait_until(lambda: other.metric("dedup_assigned_partitions") == 1, "the standby takes the partition over")
        self._start(owner, port)
        self._matchers[owner][0].wait_ready()

    def _offer(self, record: str, n: int, **changes: Any) -> None:
        picture = base64.b64encode(encoded(photo(n))).decode()
        offer = {
            "title": f"Lamp {'ABCDEFG'[n % 7]}{n:03} of brass",
            "brand": "Lumen",
            "price": 10 + n,
            "image": picture,
        }
        self.deployment.send(record, {**offer, **changes})

    def _say(self, a: str, b: str, verdict: str) -> None:
        word = {"a": a, "b": b, "verdict": verdict, "by": "Ana", "profile": self.deployment.name}
        self.deployment.send(f"{a}|{b}", word, topic=self.deployment.feedback)

    def _settle(self) -> None:
        """Through, and looked at: a metric that appears and grows between two looks has not increased either."""
        self.deployment.settle()
        time.sleep(_LOOK_SECONDS)
