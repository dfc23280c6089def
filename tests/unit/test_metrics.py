"""What is counted, and when: by the real stages, on a store in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.adapters.onnx_session import CPU
from consumer.encode import EncodeStage
from consumer.errors import StoreError
from consumer.loop import Limits, result_of
from consumer.metrics import METRICS
from consumer.ports import ClusterStore, Snapshot
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.wiring import build_encoders
from tests.factories import NOW_MS, encoder_set, message, signup
from tests.loops import Bench, Echo
from tests.match_runs import new_stage
from tests.match_streams import Drop, Put, Step, delivered, messages_of

TWINS: list[Step] = [Put("a1", "anna", None, NOW_MS), Put("b1", "berta", None, NOW_MS), Put("a2", "anna", None, NOW_MS)]


def value(name: str, **labels: str) -> float | None:
    """None where there is no such sample."""
    return METRICS.registry.get_sample_value(name, labels)


@contextmanager
def counted(name: str, by: float, **labels: str) -> Iterator[None]:
    """A counter goes up by so much."""
    before = value(name, **labels) or 0.0
    yield
    assert (value(name, **labels) or 0.0) - before == by


class FailsOnce(MemoryClusters):
    """A store that is away when the first update comes."""

    failed = False

    def apply(self, *arguments: Any) -> bool:
        if not self.failed:
            self.failed = True
            raise StoreError("away")
        return super().apply(*arguments)


class Kept(NoSnapshots):
    """Has a snapshot of every partition, with nothing in it."""

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        del partition, fingerprint, applied
        return Snapshot(2, {})


def play(steps: Sequence[Step], store: ClusterStore) -> None:
    messages = delivered(messages_of(steps))
    stage = new_stage(store, NoSnapshots())
    stage.assigned(0, len(messages))
    try:
        result_of(stage, messages)
    except StoreError:
        result_of(stage, messages)
    stage.delivered()
    stage.close()


@pytest.mark.parametrize("kind", [MemoryClusters, FailsOnce])
def test_a_batch_counts_once_when_the_store_has_it(kind: type[MemoryClusters]) -> None:
    with (
        counted("dedup_decided_total", 1, outcome="duplicate"),
        counted("dedup_decided_total", 2, outcome="different"),
        counted("dedup_decided_total", 0, outcome="possible"),
        counted("dedup_best_probability_bucket", 2, le="0.0"),
        counted("dedup_best_probability_count", 3),
        counted("dedup_changes_total", 1, kind="created"),
        counted("dedup_cluster_records_sum", 2),
        counted("dedup_cluster_records_count", 1),
    ):
        play(TWINS, kind())


def test_a_cluster_that_ends_has_no_size_and_an_erasure_counts() -> None:
    with (
        counted("dedup_changes_total", 1, kind="dissolved"),
        counted("dedup_cluster_records_count", 1),
        counted("dedup_erased_total", 1),
    ):
        play([*TWINS, Drop("a2"), Drop("nobody")], MemoryClusters())


@pytest.mark.parametrize("lost", [False, True])
def test_an_owned_partition_is_seen_until_it_goes(lost: bool) -> None:
    messages = delivered(messages_of(TWINS))
    stage = new_stage(MemoryClusters(), Kept())
    stage.assigned(0, len(messages))
    assert value("dedup_assigned_partitions", stage="match") == 1
    assert (value("dedup_partition_offset", partition="0"), value("dedup_snapshot_offset", partition="0")) == (2, 2)
    result_of(stage, messages[2:])
    stage.delivered()
    assert (value("dedup_partition_offset", partition="0"), value("dedup_snapshot_offset", partition="0")) == (3, 2)
    with counted("dedup_lost_partitions_total", lost):
        stage.revoked(0, lost=lost)
    assert value("dedup_partition_offset", partition="0") is None
    assert value("dedup_snapshot_offset", partition="0") is None
    assert value("dedup_assigned_partitions", stage="match") == 0


def test_records_are_counted_by_what_they_lack() -> None:
    stage = EncodeStage(encoder_set(), 7)
    assert value("dedup_vectors_partitions") == 7
    assert value("dedup_modalities_total", modality="device", outcome="missing") is not None, "before it happens"
    with (
        counted("dedup_modalities_total", 1, modality="city", outcome="present"),
        counted("dedup_modalities_total", 1, modality="city", outcome="missing"),
        counted("dedup_modalities_total", 2, modality="name", outcome="present"),
    ):
        result_of(stage, [message(signup("Ana", "Lima"), "r1"), message({"name": "Ana"}, "r2", offset=1)])


def test_a_loop_is_not_ready_before_it_turns_and_says_how_near_to_its_end_it_is() -> None:
    stage = Echo()
    stage.name = "fresh"
    bench = Bench(stage, Limits(batch_records=2, poll_seconds=0.0, consecutive_rejects=8))
    assert (value("dedup_ready", stage="fresh"), value("dedup_waiting", stage="fresh")) == (0, 0)
    assert (value("dedup_records_total", stage="fresh"), value("dedup_rejected_total", stage="fresh")) == (0, 0)
    bench.send(b"bad", b"bad", b"bad", b"bad", b"good")
    seen = []
    for _ in range(3):
        bench.loop.turn()
        seen.append(value("dedup_reject_streak_ratio", stage="fresh"))
    assert seen == [0.25, 0.5, 0]
    assert value("dedup_ready", stage="fresh") == 1


@pytest.mark.parametrize(
    ("models", "fell_back"),
    [
        ({}, 0),  # nobody said anything: that a GPU is looked for is the default
        ({"models.providers": [CPU]}, 0),
        ({"models.providers": ["AnotherExecutionProvider", CPU]}, 1),
    ],
)
def test_a_model_fell_back_only_where_more_was_asked_for(models: dict[str, object], fell_back: int) -> None:
    build_encoders(load_settings(None, models), load_profile("signup"))
    assert not value("dedup_provider_fell_back", modality="behaviour"), "a fitted model has no other provider"
    if models or value("dedup_model_info", modality="text", encoder="text", provider=CPU):
        assert value("dedup_provider_fell_back", modality="text") == fell_back


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("dedup_snapshot_failures_total", "action", ["save", "load", "refused"]),
        ("dedup_transactions_total", "outcome", ["committed", "aborted"]),
        ("dedup_changes_total", "kind", ["created", "merged", "split", "found", "withdrawn"]),
        ("dedup_verdicts_total", "outcome", ["obeyed", "void"]),
        ("dedup_feedback_total", "says", ["same", "different", "undecided", "other_profile"]),
    ],
)
def test_what_alerts_look_for_is_there_before_it_happens(name: str, label: str, values: list[str]) -> None:
    """A count that begins at 1 is no increase to Prometheus."""
    assert all(value(name, **{label: each}) is not None for each in values)
