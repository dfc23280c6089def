"""`python -m tests.observe.provoke`: every alert fired once on a real Prometheus, by provoking it; a table of how, and how soon.

The rules are those that ship, cut short: `for` is one second, windows are 20 s, and 200 s where they were a day. Needs
Kafka, Redis and Prometheus, as the tests do. The exit code is 1 when one did not fire.
"""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import services
from tests.deployment import Deployment
from tests.observe.control_group import NotHereError
from tests.observe.prometheus import prometheus
from tests.observe.provocations import PROVOCATIONS
from tests.observe.rules import shortened
from tests.observe.scene import Scene


@contextmanager
def theatre(kafka: str) -> Iterator[Callable[[str], float]]:
    """What provocations share, a Kafka among it. What is yielded provokes an alert; the seconds until it fired.

    It raises AssertionError when the alert fired before, or not at all.
    """
    limits = {name: provocation.limit for name, provocation in PROVOCATIONS.items() if provocation.limit}
    with (
        prometheus(shortened(limits)) as watching,
        services.redis() as redis,
        tempfile.TemporaryDirectory(prefix="dedup-provoked-") as folder,
    ):

        def fire(alert: str) -> float:
            provocation = PROVOCATIONS[alert]
            name = f"{alert.lower()}-{secrets.token_hex(3)}"
            changes = provocation.changes
            deployment = Deployment(name, kafka, redis.address, Path(folder), provocation.profile, **changes)
            deployment.environment |= {"DEDUP_TOPICS__PARTITIONS": "1", **provocation.environment}
            scene = Scene(alert, watching, redis, deployment)
            try:
                provocation.run(scene)
            finally:
                redis.restart()
                watching.forget(name)
                deployment.close()
            return scene.seconds

        yield fire


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.observe.provoke", description=__doc__)
    parser.add_argument("--only", action="append", metavar="ALERT", choices=PROVOCATIONS, help="may be repeated")
    chosen = parser.parse_args().only or list(PROVOCATIONS)
    failed = False
    _say("alert", "provoked by", "changed for it", "fired after")
    _say(*["---"] * 4)
    with services.kafka() as kafka, theatre(kafka.address) as fire:
        for alert in chosen:
            try:
                fired = f"{fire(alert):.0f} s"
            except AssertionError as error:
                failed, fired = True, f"**did not fire**: {error}"
            except NotHereError as error:
                fired = f"not here: {error}"
            provocation = PROVOCATIONS[alert]
            limit = "{1} for {0}".format(*provocation.limit) if provocation.limit else "as shipped"
            _say(alert, provocation.how, limit, fired)
    sys.exit(failed)


def _say(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
