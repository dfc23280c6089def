"""Some alerts, provoked; `python -m tests.observe.provoke` provokes them all."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import provided
from tests.observe.provocations import PROVOCATIONS
from tests.observe.provoke import theatre
from tests.observe.rules import alerts, shortened


@pytest.fixture(scope="module")
def fire(kafka_servers: str) -> Iterator[Callable[[str], float]]:
    yield from provided(lambda: theatre(kafka_servers))


@pytest.mark.parametrize("alert", ["DedupWaiting", "DedupDeadLetters", "DedupPartitionUnowned"])
def test_an_alert_fires_when_it_is_provoked(fire: Callable[[str], float], alert: str) -> None:
    assert fire(alert) > 0


def test_every_alert_can_be_provoked() -> None:
    assert PROVOCATIONS.keys() == alerts().keys()


def test_what_is_provoked_are_valid_rules(promtool: str, tmp_path: Path) -> None:
    limits = {name: provocation.limit for name, provocation in PROVOCATIONS.items() if provocation.limit}
    rules = tmp_path / "shortened.yaml"
    rules.write_text(yaml.safe_dump(shortened(limits)))
    done = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {rule.get("for", "1s") for rule in alerts(shortened(limits)).values()} - {"1s"}
