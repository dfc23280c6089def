"""`python -m tests.chaos`: break the service for half an hour, then compare with what it does when left alone."""

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson

from tests.chaos.checks import compare
from tests.chaos.faults import KINDS
from tests.chaos.flow import Feeder, Progress, settle
from tests.chaos.outcome import Decided, decided, encoded, expected
from tests.chaos.report import Report
from tests.chaos.run import Fault, wreak
from tests.chaos.stream import Stream
from tests.chaos.world import Minder, Slot, World, world
from tests.deployment import QUICK_SESSIONS, Deployment, Process

NAME = "chaos"
CALM = f"{NAME}-calm"
_SETTLE_SECONDS = 600.0
_GRAPHS = {"DEDUP_INDEX__EXACT_BELOW": "20", "DEDUP_INDEX__DIMS": "512"}
"""Of whole vectors, for there are too few to learn from how to shorten them."""


@contextmanager
def theatre(
    folder: Path, brokers: int, *, exactly_once: bool = True, classic: bool = False, graphs: bool = False
) -> Iterator[World]:
    """Servers and links for a run; everything lies under `folder`. `classic` names the older group protocol.

    With `graphs` scopes are large after their first block.
    """
    settings = {"DEDUP_KAFKA__DELIVERY": "exactly_once" if exactly_once else "at_least_once"}
    settings |= QUICK_SESSIONS if classic else {}  # of the newer one, the broker sets the times
    settings |= _GRAPHS if graphs else {}
    with world(NAME, folder, brokers, **settings) as made:
        yield made


def run(
    made: World,
    seed: int,
    faults: int,
    *,
    seconds: float = float("inf"),
    per_second: float = 50.0,
    kinds: str = "",
) -> Report:
    """One run, then its undisturbed twin over the same `vectors`."""
    exactly_once = made.deployment.environment["DEDUP_KAFKA__DELIVERY"] == "exactly_once"
    chosen = [kind for kind in KINDS if any(word in kind.name for word in kinds.split(","))]
    made.start()
    began = time.monotonic()
    with Minder(made), Feeder(made.deployment, Stream(seed, NAME, int(time.time() * 1000)), per_second) as feeder:
        found = wreak(made, feeder, seed, faults, chosen, seconds, _tell)
        feeder.finish()
        with Progress(made.deployment) as progress:
            settle(progress, feeder.ends, _SETTLE_SECONDS)
    minutes = (time.monotonic() - began) / 60
    made.stop()
    rows = encoded(made.deployment)
    states = sorted(made.deployment.folder.glob("state-matcher-*"))
    broken = decided(made.deployment, NAME, states)
    verified = {"`dedup verify` finds no difference": _verify(made.deployment, states)}
    calm = undisturbed(made.deployment)
    return Report(
        command=shlex.join(["python", "-m", "tests.chaos", *sys.argv[1:]]),
        seed=seed,
        delivery="exactly once" if exactly_once else "at least once",
        brokers=len(made.kafka.brokers),
        minutes=minutes,
        messages=feeder.messages,
        repeated_vectors=len(rows.rows) - len(set(rows.rows)),
        events=len(broken.events),
        repeated_events=sum(n - 1 for n in Counter(event.id for event in broken.events).values()),
        clusters=len(set(broken.assignments.values())),
        rebalances=sum(len(slot.log("assigned")) for slot in made.slots.values()),
        faults=found,
        ends={name: slot.ends for name, slot in made.slots.items()},
        checks=compare(rows, expected(made.deployment), broken, calm, exactly_once=exactly_once) | verified,
    )


def undisturbed(deployment: Deployment) -> Decided:
    """What one matcher that nobody touches makes of `vectors`, under names of its own."""
    own = {
        "DEDUP_KAFKA__GROUP": CALM,
        "DEDUP_REDIS__PREFIX": CALM,
        "DEDUP_REDIS__URL": deployment.redis_url,
        "DEDUP_TOPICS__EVENTS": f"{CALM}.events",
        "DEDUP_TOPICS__CLUSTERS": f"{CALM}.clusters",
        "DEDUP_TOPICS__POSSIBLE": f"{CALM}.possible",
    }
    made = deployment.run("topics", "create", **own)
    assert made.returncode == 0, made.stderr
    slot = Slot("matcher-calm", deployment, own)
    slot.start()
    with Progress(deployment, CALM) as progress:
        settle(progress, {}, _SETTLE_SECONDS)
    slot.stop()
    assert not slot.ends, slot.ends
    return decided(deployment, CALM, [deployment.folder / "state-matcher-calm"])


def _verify(deployment: Deployment, states: Sequence[Path]) -> list[str]:
    """What the service's own check says, with the snapshots of each matcher."""
    said = []
    for state in states:
        own = {"DEDUP_REDIS__URL": deployment.redis_url, "DEDUP_STATE__DIRECTORY": str(state)}
        environment = {**deployment.environment, **own}
        done = Process(environment, deployment.folder / f"verify-{state.name}", "verify", "--wait", "0", "--json")
        if done.wait(_SETTLE_SECONDS) != 0:
            said.append(f"{state.name}: {done.stdout[-500:] or done.stderr[-500:]}")
    return said


def _tell(fault: Fault) -> None:
    print(
        f"{fault.number:4d} at {fault.at:7.1f} s  {fault.kind}: {fault.struck}, for {fault.lasted:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=40.0, help="no fault begins later")
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--per-second", type=float, default=50.0, help="messages sent")
    parser.add_argument("--at-least-once", action="store_true", help="instead of exactly once")
    parser.add_argument("--classic", action="store_true", help="the older group protocol")
    parser.add_argument("--graphs", action="store_true", help="indexes as those of large scopes are")
    parser.add_argument("--kinds", default="", help="words, by commas: only faults whose names hold one")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--folder", type=Path, help="for logs and states; default: one that is removed at the end")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dedup-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        made = stack.enter_context(
            theatre(
                folder,
                given.brokers,
                exactly_once=not given.at_least_once,
                classic=given.classic,
                graphs=given.graphs,
            )
        )
        report = run(
            made,
            given.seed,
            given.faults,
            seconds=given.minutes * 60,
            per_second=given.per_second,
            kinds=given.kinds,
        )
    if given.out is not None:
        given.out.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    print(report.as_markdown())
    sys.exit(0 if report.passed else 1)


if __name__ == "__main__":
    main()
