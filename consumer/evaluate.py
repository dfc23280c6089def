"""`dedup evaluate`: a labelled file through the engine of the service, and what is to be known of the outcome."""

import csv
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from consumer.batch import MemoryPipeline, chunks, no_record
from consumer.comparison import Comparison
from consumer.curves import Curve, curve
from consumer.encode import EncoderSet, EncodeStage
from consumer.errors import SettingsError
from consumer.evaluation import EventView, Interval, Scores, overlap
from consumer.fusion import Fusion
from consumer.garbage import collect_rarely
from consumer.indexes import new_index
from consumer.loop import result_of
from consumer.mistakes import FalseCluster, WrongPair, largest_false, wrong_pairs
from consumer.pairs import PairTable, candidate_pairs
from consumer.profile import load_profile
from consumer.records import Bools, Doubles, Message, Outgoing, Position, Vector
from consumer.settings import Settings
from consumer.string_match import string_match
from consumer.vectors import unpack
from consumer.wiring import build_encoders, build_fusion

BOOTSTRAP_DRAWS = 500
_CHUNK = 2048

Progress = Callable[[str, int, int], None]
"""Told what is going on, how far it is, and how far it goes."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the clusters, with 95 % bootstrap intervals over true clusters."""

    scores: Scores
    intervals: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Subset:
    """What some modalities can do alone: the best F1 of candidate pairs, its threshold picked on the truth."""

    modalities: Sequence[str]
    f1: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that is reported; JSON as it stands, but for `curve`, `histogram` and `values`."""

    input: str
    profile: str
    fingerprint: str
    cross_source: bool
    singles: float
    """Share of the entities of which one record alone was left."""
    records: int
    rejected: int
    unlabelled: int
    """Records that the truth does not name: in the stream, not in the scores."""
    pairwise: Scored
    b_cubed: Scored
    candidate_recall: float
    """Share of the true pairs that the search brought together directly."""
    best_pairs: Subset
    """All modalities, candidate pairs alone."""
    recall_at_precision: Mapping[str, float]
    subsets: Sequence[Subset]
    orders: Sequence[float]
    """Pairwise F1 of the clusters, one a random order of arrival."""
    string_match: Scores
    true_sizes: Mapping[int, int]
    found_sizes: Mapping[int, int]
    largest_false: FalseCluster
    worst: Sequence[WrongPair]


@dataclass(frozen=True, slots=True)
class Drawings:
    """What the report draws from."""

    curve: Curve
    matches: Doubles
    """Fused scores of candidate pairs that are one."""
    others: Doubles
    values: Mapping[str, Mapping[str, object]]
    """Record id → its input, for the wrong pairs."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """An encoded file."""

    encoders: EncoderSet
    vectors: Sequence[Outgoing]
    values: Mapping[str, Mapping[str, object]]
    rejected: int


def evaluate(
    settings: Settings,
    source: Path,
    truth_path: Path,
    *,
    cross_source: bool,
    singles: float,
    orders: int,
    seed: int,
    progress: Progress,
) -> tuple[Evaluation, Drawings]:
    """Stream a labelled file and judge the outcome. Raises SettingsError for files that cannot be used."""
    truth = read_truth(truth_path)
    stream = _encode(settings, source, _all_but_one(truth, singles, seed), progress)
    collect_rarely()
    labelled = {r: truth[r] for r in truth if r in stream.values}
    if not labelled:
        raise SettingsError(f"{truth_path}: names none of the records of {source}; ids must be the same in both")
    sources = _sources(stream, labelled, source) if cross_source else None
    profile, layout = stream.encoders.profile, stream.encoders.layout
    found = _cluster(settings, stream, stream.vectors, progress)
    counted = overlap(labelled, found, sources)
    pair_intervals, cube_intervals = counted.intervals(BOOTSTRAP_DRAWS, seed)
    fusion = build_fusion(settings, stream.encoders)
    every = _candidate_pairs(settings, stream, fusion.whitened)
    counts = _counted(every, labelled, sources)
    table, scores = every.take(counts), fusion.scores(every.pairs)[counts]
    same, true_pairs = table.same(labelled), float(counted.true.sum()) / 2
    whole = curve(scores, same, true_pairs)
    rng = np.random.default_rng(seed)
    shuffled = ([stream.vectors[i] for i in rng.permutation(len(stream.vectors))] for _ in range(orders))
    outcome = Evaluation(
        input=source.name,
        profile=profile.name,
        fingerprint=stream.encoders.fingerprint,
        cross_source=cross_source,
        singles=singles,
        records=len(stream.values),
        rejected=stream.rejected,
        unlabelled=len(stream.values) - len(labelled),
        pairwise=Scored(counted.pairwise(), pair_intervals),
        b_cubed=Scored(counted.b_cubed(), cube_intervals),
        candidate_recall=round(float(same.sum()) / max(true_pairs, 1), 4),
        best_pairs=Subset(layout.names, *whole.best()),
        recall_at_precision={str(p): whole.recall_at(p) for p in (0.9, 0.95, 0.97, 0.99)},
        subsets=_ablation(every.pairs, counts, fusion, same, true_pairs),
        orders=[overlap(labelled, _cluster(settings, stream, s, progress), sources).pairwise().f1 for s in shuffled],
        string_match=overlap(labelled, string_match(table, stream.values, profile), sources).pairwise(),
        true_sizes=_sizes(labelled),
        found_sizes=_sizes({r: found.get(r, r) for r in labelled}),
        largest_false=largest_false(labelled, found),
        worst=wrong_pairs(table, scores, same, labelled, found, layout.names, sources),
    )
    named = {r for pair in outcome.worst for r in (pair.a, pair.b)}
    values = {r: stream.values[r] for r in named}
    return outcome, Drawings(whole, scores[same], scores[~same], values)


def read_truth(path: Path) -> dict[str, str]:
    """Record id → true cluster, from a CSV with the columns `id` and `cluster_id`. Raises SettingsError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"id", "cluster_id"} <= set(reader.fieldnames or ()):
                raise SettingsError(
                    f"{path}: a CSV file with the columns id and cluster_id, separated by a comma, is wanted"
                )
            truth: dict[str, str] = {}
            for row in reader:
                record_id, cluster_id = row["id"], row["cluster_id"]
                if record_id and cluster_id and truth.setdefault(record_id, cluster_id) != cluster_id:
                    raise SettingsError(f"{path}: line {reader.line_num}: {record_id} is in another cluster further up")
            return truth
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _all_but_one(truth: Mapping[str, str], share: float, seed: int) -> set[str]:
    """Records to leave out, so that one alone is left of a share of the entities; both are drawn."""
    rng = np.random.default_rng(seed)
    members = defaultdict[str, list[str]](list)
    for record_id, entity in sorted(truth.items()):
        members[entity].append(record_id)
    left_out = set[str]()
    for ids in [ids for ids in members.values() if rng.random() < share]:
        kept = ids[rng.integers(len(ids))]
        left_out.update(r for r in ids if r != kept)
    return left_out


def _encode(settings: Settings, source: Path, left_out: Container[str], progress: Progress) -> _Stream:
    profile = load_profile(settings.profile)
    encoders = build_encoders(settings, profile, source.parent)
    stage = EncodeStage(encoders, 1)
    vectors: list[Outgoing] = []
    values: dict[str, Mapping[str, object]] = {}
    rejected, why, size, read = 0, "", source.stat().st_size, 0

    def advance(count: int) -> None:
        nonlocal read
        read += count
        progress("encoding", read, size)

    for lines in chunks(source, profile.input, advance):
        chunk = {line: (m, r) for line, (m, r) in lines.items() if r not in left_out}
        messages = [
            Message(Position(m.topic, 0, line), m.key, m.value, m.timestamp_ms or 0) for line, (m, _) in chunk.items()
        ]
        result = result_of(stage, messages)
        refused = {r.message.position.offset for r in result.rejected}
        rejected += len(refused)
        if result.rejected and not why:
            first = result.rejected[0]
            why = f"line {first.message.position.offset}: {first.reason}"
        vectors += result.outgoing
        values.update({r: orjson.loads(m.value or b"") for line, (m, r) in chunk.items() if line not in refused})
    if not values:
        raise no_record(source, why)
    return _Stream(encoders, vectors, values, rejected)


def _cluster(settings: Settings, stream: _Stream, vectors: Sequence[Outgoing], progress: Progress) -> dict[str, str]:
    """Record → cluster, as a reader of the events has it after the vectors came in this order."""
    pipeline, view = MemoryPipeline(settings, stream.encoders), EventView()
    for start in range(0, len(vectors), _CHUNK):
        pipeline.feed(vectors[start : start + _CHUNK])
        for event in pipeline.drain(settings.topics.events):
            view.apply(orjson.loads(event))
        for topic in (settings.topics.possible, settings.topics.clusters):
            pipeline.drain(topic)
        progress("matching", min(start + _CHUNK, len(vectors)), len(vectors))
    return view.assignments


def _candidate_pairs(settings: Settings, stream: _Stream, whitened: Sequence[str]) -> PairTable:
    encoders = stream.encoders
    unpacked = [
        unpack(Message(Position(m.topic, 0, 0), m.key, m.value, 0), encoders.fingerprint, encoders.layout.dim)
        for m in stream.vectors
    ]
    vectors = [item for item in unpacked if isinstance(item, Vector)]
    maker = new_index(settings, encoders.layout.dim)
    return candidate_pairs(vectors, encoders.layout, maker, settings.index.neighbours, whitened)


def _sources(stream: _Stream, labelled: Container[str], path: Path) -> dict[str, object]:
    """Where each labelled record comes from. Raises SettingsError where all come from one place: no pair would count."""
    found = {r: orjson.dumps(value.get("source")) for r, value in stream.values.items() if r in labelled}
    if len(set(found.values())) < 2:
        raise SettingsError(f"{path}: --cross-source wants records that differ in the field source; here none do")
    return dict(found)


def _counted(table: PairTable, truth: Mapping[str, str], sources: Mapping[str, object] | None) -> Bools:
    """Pairs of labelled records, bool [n]; across sources only, where that is how the file is scored."""
    return np.array(
        [
            (a := table.ids[later]) in truth
            and (b := table.ids[earlier]) in truth
            and (sources is None or sources[a] != sources[b])
            for later, earlier in zip(table.later.tolist(), table.earlier.tolist(), strict=True)
        ],
        bool,
    )


def _ablation(pairs: Comparison, counts: Bools, fusion: Fusion, same: Bools, true_pairs: float) -> list[Subset]:
    """Every subset of the modalities that any pair shares, the best first. Candidates stay those of the whole profile."""
    names = fusion.layout.names
    there = [number for number in range(len(names)) if pairs.present[counts][:, number].any()]
    subsets = [s for size in range(1, len(there) + 1) for s in itertools.combinations(there, size)]
    found = [
        Subset([names[n] for n in s], *curve(fusion.scores(pairs.only(s))[counts], same, true_pairs).best())
        for s in subsets
    ]
    return sorted(found, key=lambda s: -s.f1)


def _sizes(clusters: Mapping[str, str]) -> dict[int, int]:
    return dict(sorted(Counter(Counter(clusters.values()).values()).items()))
