"""The whole comparison: for each size of the index, the parts by themselves, then the stream that is made of them."""

import secrets
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.adapters.projection import ROWS_PER_AXIS
from consumer.decode import DEFAULT_SCOPE
from consumer.errors import SettingsError
from consumer.indexes import build_snapshots
from consumer.profile import load_profile
from consumer.records import Message, Outgoing, Position
from consumer.settings import load_settings
from consumer.vectors import tick_message
from consumer.wiring import build_encoders, build_store, require_brokers
from loadtest.ceiling.clock import BATCH, Cost, median, medians, total
from loadtest.ceiling.encode_parts import encode_parts
from loadtest.ceiling.fill import Fill
from loadtest.ceiling.kafka_parts import acknowledged, transactional
from loadtest.ceiling.match_parts import decider_part, index_parts, store_parts
from loadtest.ceiling.site import Site, own_settings, records, site
from loadtest.ceiling.streams import encode_stream, match_stream, whole_stream
from loadtest.environment import environment

SKIP = 2 * BATCH
"""Records of each part that are not counted: connections, first runs, joining a group."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. What else a machine does comes and goes: parts and stream take turns, and medians count."""

    sample: int
    """Records of a round."""
    rounds: int


@dataclass(frozen=True, slots=True)
class Size:
    """What a record costs with so many in the index."""

    records: int
    encode_parts: Mapping[str, Cost]
    match_parts: Mapping[str, Cost]
    encode_stream: Cost
    match_stream: Cost
    match_steps: Mapping[str, float]
    """What the steps of the match stage took in the stream by the wall, in microseconds, as its own metrics say."""
    whole_stream: Cost


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One run."""

    plan: Plan
    sizes: Sequence[Size]
    environment: Mapping[str, Any]


def measure(
    config: Path | None, profile: str | None, sizes: Sequence[int], plan: Plan, progress: Callable[[str], None]
) -> Ceiling:
    """On the cluster and store of the settings, under names of its own, which stay there. Raises DedupError."""
    overrides: dict[str, object] = {} if profile is None else {"profile": profile}
    settings = load_settings(config, overrides)
    require_brokers(settings)
    least = max(settings.index.exact_below, ROWS_PER_AXIS * settings.index.dims)
    if least >= min(sizes) + BATCH:
        raise SettingsError(
            f"--records {min(sizes)}: up to {least} (index.exact_below, or {ROWS_PER_AXIS} times index.dims) hnswlib is not "
            "used; measure more, or lower that"
        )
    base = load_profile(settings.profile)
    run = f"ceiling-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="dedup-ceiling-") as name:
        folder = Path(name)
        first = own_settings(config, base, run, folder)
        encoders = build_encoders(first, base)
        fill = Fill(first, encoders, progress)
        found = []
        for size in sorted(sizes):
            own = folder / str(size)
            own.mkdir()
            # one batch more, so that an index at the limit of exact search is past it
            fill.grow(size + BATCH)
            place = site(own_settings(config, base, f"{run}-{size}", own), encoders, own)
            found.append(_at(place, fill, size, plan, progress))
            progress(f"{size} records: {_told(found[-1])}")
        return Ceiling(plan, found, environment(settings, base))


def _told(size: Size) -> str:
    """So that a run that is cut short has said what it knows."""
    encode, match = total(size.encode_parts), total(size.match_parts)
    return (
        f"encode {encode.wall:.0f} of {size.encode_stream.wall:.0f} µs, "
        f"match {match.wall:.0f} of {size.match_stream.wall:.0f} µs, both at once {size.whole_stream.wall:.0f} µs"
    )


def _at(place: Site, fill: Fill, size: int, plan: Plan, progress: Callable[[str], None]) -> Size:
    _prepare(place, fill)
    profile, count = place.profile, plan.sample + SKIP
    progress(f"{size} records: the encode stage")
    encoded = [_encode(place, number, count) for number in range(plan.rounds)]
    # matched batches end where they like: what one round takes too much the next would wait for
    place.send(profile.input, records(profile, "spare", BATCH, seed=2 * plan.rounds))
    encode_stream(place, BATCH, 0)
    vectors = place.read(profile.vectors_topic, since=fill.rows)
    sent = [Outgoing(f"{profile.vectors_topic}.dlq", v.key, v.value) for v in vectors[:count]]
    acknowledging = acknowledged(place, profile.input, sent, count, SKIP)

    progress(f"{size} records: the match stage")
    # before the stream: its snapshots are newer than what the stores here know
    asking = store_parts(place, fill, vectors[:count], SKIP)
    matched = [_match(place, fill, vectors[: (number + 1) * count], number * count) for number in range(plan.rounds)]
    topics = place.settings.topics
    events = [message for topic in (topics.events, topics.clusters, topics.possible) for message in place.read(topic)]
    told = [Outgoing(f"{profile.input}.dlq", message.key, message.value) for message in events]
    decided = plan.rounds * count
    transacting = transactional(place, profile.vectors_topic, told, fill.rows + decided, fill.rows + SKIP)

    progress(f"{size} records: both stages at once")
    whole = whole_stream(place, records(profile, "whole", count, seed=2 * plan.rounds + 1), SKIP)
    return Size(
        records=size,
        encode_parts={**medians([parts for _, parts in encoded]), "Kafka: consume, produce, commit": acknowledging},
        match_parts={
            **medians([parts for _, _, parts in matched]),
            **asking,
            "Kafka: consume, and a transaction a batch": transacting,
        },
        encode_stream=median([stream for stream, _ in encoded]),
        match_stream=median([stream for stream, _, _ in matched]),
        match_steps={
            name: statistics.median(steps.get(name, 0.0) for _, steps, _ in matched) for name in matched[0][1]
        },
        whole_stream=whole,
    )


def _prepare(place: Site, fill: Fill) -> None:
    """What a deployment would have that decided the records of the index before."""
    profile = place.profile
    place.send(profile.vectors_topic, [tick_message(DEFAULT_SCOPE, profile.vectors_topic, 0)] * fill.rows)
    store = build_store(place.settings, profile)
    fill.tell(store)
    store.close()
    snapshots = build_snapshots(place.settings, profile, place.encoders.layout.dim)
    snapshots.save(0, place.encoders.fingerprint, fill.rows, {DEFAULT_SCOPE: (fill.index, fill.rows - 1)})


def _encode(place: Site, number: int, count: int) -> tuple[Cost, Mapping[str, Cost]]:
    """A round: the stream over new records, then its parts over others."""
    place.send(place.profile.input, records(place.profile, f"stream-{number}", count, seed=2 * number))
    stream = encode_stream(place, count, SKIP)
    others = records(place.profile, f"parts-{number}", count, seed=2 * number + 1)
    return stream, encode_parts(place, _received(others))


def _match(
    place: Site, fill: Fill, vectors: Sequence[Message], earlier: int
) -> tuple[Cost, Mapping[str, float], Mapping[str, Cost]]:
    """A round: the parts over some vectors, then the stream, which comes to the same ones; and its steps.

    The first `earlier` were those of earlier rounds: they are in the stream's index, and so in that of the parts.
    """
    parts = {**index_parts(place, fill, vectors, earlier + SKIP), **decider_part(place)}
    stream, steps = match_stream(place, len(vectors) - earlier, SKIP)
    return stream, {cost.step: 1000 * cost.milliseconds_per_record for cost in steps}, parts


def _received(messages: Sequence[Outgoing]) -> list[Message]:
    return [
        Message(Position(m.topic, 0, offset), m.key, m.value, m.timestamp_ms or 0) for offset, m in enumerate(messages)
    ]
