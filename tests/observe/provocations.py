"""How each alert is provoked, by the real means that would make it fire: processes, brokers and messages, no metric is forged.

A provocation says what may be another limit than in the alert that ships, where the real one needs more than seconds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deployment import QUICK_SESSIONS, SIGNUP, wait_until
from tests.observe.control_group import memory_limit
from tests.observe.provocation import Provocation
from tests.observe.scene import Scene, strangers
from tests.services import ROOT, _free_port

LISTING = ROOT / "consumer" / "profiles" / "listing.yaml"
BAD = b"{"
WINDOW_SECONDS = 21.0
"""A little more than the window that most rules are cut to: see `tests.observe.rules`."""
PROVOCATIONS: dict[str, Provocation] = {}
"""By alert."""


Run = Callable[[Scene], None]


def provokes(alert: str, how: str, **more: Any) -> Callable[[Run], Run]:
    """What is below it provokes the alert; `more` are fields of Provocation."""

    def note(run: Run) -> Run:
        PROVOCATIONS[alert] = Provocation(how, run, **more)
        return run

    return note


# processes


@provokes("DedupDown", "a matcher is killed")
def _killed(scene: Scene) -> None:
    scene.start("encode")
    matcher = scene.start("match")
    with scene.provoked():
        matcher.kill()


@provokes("DedupAbsent", "Prometheus is no longer told of any process")
def _forgotten(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        scene.prometheus.forget(scene.deployment.name)


@provokes("DedupRestarting", "a process is killed and started again, three times", limit=("[20s]", "[60s]"))
def _restarted(scene: Scene) -> None:
    port = str(_free_port())
    process = scene.start("encode", DEDUP_HTTP__PORT=port)
    with scene.provoked():
        for _ in range(3):
            process.kill()
            process = scene.deployment.start("encode", DEDUP_HTTP__PORT=port)
            process.wait_ready()
            scene.passes(1.5)  # a scrape


@provokes("DedupNotReady", "a matcher starts behind 2,000 records, and takes them one by one")
def _catches_up(scene: Scene) -> None:
    encoder = scene.start("encode")
    scene.send("r", strangers(2_000))
    wait_until(lambda: encoder.metric("dedup_records_total", stage="encode") == 2_000, "all are encoded")
    with scene.provoked():
        scene.start("match", ready=False, DEDUP_LIMITS__BATCH_RECORDS="1")


@provokes("DedupWaiting", "Redis is killed under a stream")
def _redis_away(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        scene.redis.kill()
        scene.send("r", strangers(5))  # who has nothing to do asks for nothing


@provokes("DedupMemoryHigh", "an encoder starts in a control group with hardly more memory than it needs")
def _tight_memory(scene: Scene) -> None:
    used = scene.start("encode").metric("process_resident_memory_bytes")
    with memory_limit(int(1.05 * used)):
        with scene.provoked():
            encoder = scene.start("encode")
        encoder.kill()


@provokes(
    "DedupProviderFellBack",
    "an encoder is told to use CUDA where there is none",
    profile=SIGNUP,
    environment={"CUDA_VISIBLE_DEVICES": ""},
)
def _no_gpu(scene: Scene) -> None:
    with scene.provoked():
        scene.start("encode", DEDUP_MODELS__PROVIDERS='["CUDAExecutionProvider", "CPUExecutionProvider"]')


@provokes("DedupModelsDiffer", "an encoder with other weights starts beside the first")
def _other_weights(scene: Scene) -> None:
    scene.start("encode")
    profile = Path(scene.deployment.environment["DEDUP_PROFILE"])
    other = profile.with_name("other.yaml")
    other.write_text(profile.read_text().replace("weight: 0.3", "weight: 0.2"))
    with scene.provoked():
        scene.start("encode", DEDUP_PROFILE=str(other))


# the stream


@provokes(
    "DedupLagGrowing",
    "4,000 records at once to a matcher that takes them one by one",
    environment={"DEDUP_LIMITS__BATCH_RECORDS": "1"},
)
def _too_much(scene: Scene) -> None:
    scene.start("encode", DEDUP_LIMITS__BATCH_RECORDS="512")
    scene.start("match")
    with scene.provoked():
        scene.send("r", strangers(4_000))


@provokes("DedupLatencyHigh", "Redis stands still for seven seconds under a stream")
def _slow_redis(scene: Scene) -> None:
    scene.start()
    scene.send("before", strangers(20))
    scene.deployment.settle()
    with scene.provoked():
        scene.redis.pause()
        scene.send("r", strangers(50, 100))
        scene.passes(7)
        scene.redis.resume()


@provokes("DedupDeadLetters", "one message in three is no JSON")
def _no_json(scene: Scene) -> None:
    scene.start("encode")
    scene.send("before", strangers(5))
    with scene.provoked():
        for n in range(30):
            scene.deployment.send(f"bad-{n}", BAD)
            scene.send(f"r{n}", strangers(2, 2 * n))


@provokes("DedupRejectStorm", "600 messages in a row are no JSON")
def _nothing_but_bad(scene: Scene) -> None:
    scene.start("encode")
    with scene.provoked():
        for n in range(600):
            scene.deployment.send(f"bad-{n}", BAD)
        scene.deployment.flush()


@provokes("DedupTransactionsAborting", "Redis refuses the matcher the epochs, which it asks for before each commit")
def _refused_epochs(scene: Scene) -> None:
    scene.start()
    scene.send("before", strangers(5))
    scene.deployment.settle()
    with scene.deployment.redis() as client:
        name = scene.deployment.name
        others = [f"{name}:{{{name}/*", f"{name}:{{{name}}}:scopes:*"]  # all but `epochs`
        with scene.provoked():
            client.acl_setuser("default", enabled=True, reset_keys=True, keys=others)
            scene.send("r", strangers(5, 100))
        client.acl_setuser("default", enabled=True, keys=["*"])


@provokes(
    "DedupRedoQueueGrowing",
    "alike records by the dozen, with a budget of none to judge them at once",
    limit=("> 1000", "> 5"),
    environment={"DEDUP_MATCHING__REPAIR_RECORDS": "0", "DEDUP_MATCHING__REDO_PER_ROW": "1"},
)
def _alike(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        for n in range(40):
            scene.send(f"r{n}", [f"Adaeze Brennan{'n' * (n % 5)}", f"Adaeze Brenan {'x' * (n % 7)}"] * 3)


# partitions


@provokes("DedupPartitionUnowned", "the only matcher is stopped")
def _no_matcher(scene: Scene) -> None:
    scene.start("encode")
    matcher = scene.start("match")
    with scene.provoked():
        matcher.stop()


@provokes("DedupTwoOwners", "a second matcher starts over the same topics and Redis, in a group of its own")
def _two_groups(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        scene.start("match", DEDUP_KAFKA__GROUP=f"{scene.deployment.name}.other")


@provokes("DedupLostOwnership", "a matcher stands still for longer than its session", environment=QUICK_SESSIONS)
def _stood_still(scene: Scene) -> None:
    matcher = scene.start()
    scene.send("r", strangers(5))
    scene.deployment.settle()
    with scene.provoked():
        matcher.pause()
        scene.passes(8)
        matcher.resume()


@provokes(
    "DedupStandbyBehind",
    "the owner of the partition stands still, and its standby may not run ahead of it",
    limit=("> 50000", "> 100"),
    environment={"DEDUP_STATE__STANDBY": "true"},
)
def _owner_stands_still(scene: Scene) -> None:
    scene.start("encode", DEDUP_STATE__STANDBY="false")
    matchers = [scene.start("match", DEDUP_STATE__DIRECTORY=str(scene.deployment.folder / name)) for name in "ab"]
    scene.send("before", strangers(20))
    scene.deployment.settle()
    (owner,) = [matcher for matcher in matchers if matcher.metric("dedup_assigned_partitions") == 1]
    with scene.provoked():
        owner.pause()
        scene.send("r", strangers(300, 100))
    owner.resume()


@provokes(
    "DedupSnapshotFailing",
    "the folder of snapshots cannot be made",
    environment={"DEDUP_STATE__SNAPSHOT_RECORDS": "2"},
)
def _no_folder(scene: Scene) -> None:
    blocked = scene.deployment.folder / "a-file"
    blocked.write_text("where the folder of snapshots should be")
    scene.start(DEDUP_STATE__DIRECTORY=str(blocked / "state"))
    with scene.provoked():
        scene.send("r", strangers(10))


@provokes("DedupSnapshotStale", "400 records, and no snapshot yet", limit=("> 250000", "> 300"))
def _no_snapshot(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        scene.send("r", strangers(400))


# decisions


@provokes("DedupScoreDrift", "strangers for a while, then copies of them", limit=("> 1000", "> 40"))
def _copies(scene: Scene) -> None:
    scene.start()
    scene.send("r", strangers(300))
    scene.deployment.settle()
    scene.passes(WINDOW_SECONDS)
    with scene.provoked():
        for _ in range(10):
            scene.send(f"again-{time.monotonic_ns()}", strangers(10))
            scene.passes(1)


@provokes("DedupMergeBurst", "people's words join clusters, ten times", limit=("> 50", "> 5"))
def _words(scene: Scene) -> None:
    scene.start()
    names = strangers(20)
    scene.send("a", names)
    scene.send("b", names)
    scene.deployment.settle()
    wait_until(lambda: len(scene.deployment.assignments()) == 40, "clusters of two")
    scene.passes(2)  # a scrape
    with scene.provoked():
        for n in range(0, 20, 2):
            word = {"a": f"a-{n}", "b": f"a-{n + 1}", "verdict": "same", "by": "Ana", "profile": scene.deployment.name}
            scene.deployment.send(f"a-{n}|a-{n + 1}", word, topic=scene.deployment.feedback)
        scene.deployment.flush()


@provokes(
    "DedupReviewQueueGrowing",
    "a decider that is almost never sure",
    limit=("> 1000", "> 10"),
    changes={"fusion": {"duplicate": 0.999, "possible": 0.5, "slope": 20, "min_evidence": 0.7}},
)
def _never_sure(scene: Scene) -> None:
    scene.start()
    with scene.provoked():
        scene.send("a", strangers(20))
        scene.send("b", [f"{name}e" for name in strangers(20)])


@provokes("DedupModalityMissing", "records without times of login, where others had them", limit=("> 1000", "> 40"))
def _no_times(scene: Scene) -> None:
    scene.start("encode")
    scene.send("r", strangers(100))
    scene.passes(WINDOW_SECONDS)  # so that the two do not fall into one window
    with scene.provoked():
        for n in range(10):
            scene.send(f"s{n}", strangers(10, 200 + 10 * n), login_times=None)
            scene.passes(1)


@provokes("DedupImagesFailing", "pictures at an address that is not allowed", profile=LISTING)
def _not_allowed(scene: Scene) -> None:
    scene.start("encode")
    with scene.provoked():
        for n in range(20):
            scene.deployment.send(f"r-{n}", {"title": f"A lamp, {n}", "image_uri": f"https://example.org/{n}.jpg"})
            scene.passes(0.3)
        scene.deployment.flush()
