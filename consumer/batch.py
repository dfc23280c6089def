"""`dedup batch`: the stages of the service over a file, with topics and store in memory."""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import orjson

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.delivery import AtLeastOnce
from consumer.encode import EncoderSet, EncodeStage
from consumer.errors import SettingsError
from consumer.evaluation import EventView
from consumer.feedback import message_key, read_statements
from consumer.garbage import collect_rarely
from consumer.lines import lines_of
from consumer.loop import Loop
from consumer.names import dead_letter_topic, read_topics
from consumer.ports import ClusterStore
from consumer.profile import Profile, load_profile
from consumer.records import Outgoing
from consumer.sections import MESSAGE_MAX_BYTES
from consumer.settings import Settings
from consumer.wiring import build_encoders, build_match_stage, limits

_CHUNK_RECORDS = 2048
"""Lines in flight: enough for full batches, few enough that memory does not grow with the file."""
_LINE_HEADER, _WHY_HEADER = "line", "why"


@dataclass(frozen=True, slots=True)
class Summary:
    """What `summary.json` says."""

    input: str
    profile: str
    records: int
    rejected: int
    clusters: int
    clustered_records: int
    largest_cluster: int
    events: int
    possible_events: int
    verdicts: int
    """Words of people that were read."""
    fingerprint: str


class MemoryPipeline:
    """Both stages over a broker in memory: feed it messages of the input and feedback topics, drain what it writes."""

    def __init__(self, settings: Settings, encoders: EncoderSet, store: ClusterStore | None = None) -> None:
        """`store` keeps what is decided; one in memory if none is given."""
        profile, topics = encoders.profile, settings.topics
        self.broker = MemoryBroker(retain=False)
        inner = read_topics(settings, profile)
        self.dead_letter_topics = [dead_letter_topic(name) for name in inner]
        for name in (*inner, *self.dead_letter_topics, topics.events, topics.clusters, topics.possible):
            self.broker.create(name, 1)
        publisher = MemoryPublisher(self.broker)
        match = build_match_stage(settings, encoders, store or MemoryClusters(), NoSnapshots())

        def assigned(came: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
            return {(topic, n): match.assigned(n, self.broker.log((topic, n)).end) for topic, n in came}

        # a file ends by itself: no number of rejects stops the run
        chosen = replace(limits(settings), poll_seconds=0.0, consecutive_rejects=sys.maxsize)
        encode_source = MemorySource(self.broker, "encode", [profile.input, topics.feedback])
        match_source = MemorySource(self.broker, "match", [profile.vectors_topic], assigned)
        self._loops = [
            (source, Loop(source, stage, AtLeastOnce(source, publisher), chosen))
            for source, stage in (
                (encode_source, EncodeStage(encoders, 1, topics.feedback)),
                (match_source, match),
            )
        ]

    def feed(self, messages: Sequence[Outgoing]) -> None:
        """Run messages through both stages to the end."""
        MemoryPublisher(self.broker).publish(messages)
        for source, loop in self._loops:
            while loop.turn() or any(source.lag().values()):  # an idle scope may give itself something to do
                pass

    def drain(self, topic: str) -> list[bytes]:
        """Values that came to an output topic since the last call."""
        return [m.value for m in self.broker.drain(topic) if m.value is not None]

    def drain_dead_letters(self) -> list[dict[str, str | int]]:
        """Why input lines were rejected since the last call."""
        letters = [m for topic in self.dead_letter_topics for m in self.broker.drain(topic)]
        return [
            {
                "line": int(m.headers[_LINE_HEADER]),
                "reason": m.headers.get(_WHY_HEADER, m.headers["dedup-reason"]).decode(),
            }
            for m in letters
            if _LINE_HEADER in m.headers
        ]


def no_record(source: Path, why: str) -> SettingsError:
    """The error for a file without a single record; `why` is the first reason that was given, if any was."""
    found = f" ({why})" if why else ""
    return SettingsError(
        f"{source}: there is no record in it{found}; a JSON object a line is wanted, each with a text `id` of its own"
    )


_WRITTEN = ("clusters.csv", "events.jsonl", "possible.jsonl", "dead_letters.jsonl", "summary.json")


class _Outputs:
    """The files of a run, and what they hold."""

    def __init__(self, out: Path, sources: Sequence[Path], settings: Settings, profile: str, fingerprint: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        for read, name in product(sources, _WRITTEN):
            if (out / name).exists() and read.exists() and read.samefile(out / name):
                raise SettingsError(f"{read} is read, and would be overwritten: choose another folder than {out}")
        self._out = out
        self._topics = settings.topics
        self._profile = profile
        self._fingerprint = fingerprint
        self._view = EventView()
        self.first_letter = ""
        self._ids: dict[str, None] = {}
        self._counts = {"events.jsonl": 0, "possible.jsonl": 0, "dead_letters.jsonl": 0}
        for name in self._counts:
            (out / name).write_bytes(b"")

    def take(self, pipeline: MemoryPipeline, lines: Mapping[int, str]) -> None:
        """Write what a chunk led to; `lines` are its line numbers with their record ids."""
        letters = pipeline.drain_dead_letters()
        if letters and not self.first_letter:
            self.first_letter = f"line {letters[0]['line']}: {letters[0]['reason']}"
        refused = {letter["line"] for letter in letters}
        self._ids.update((record_id, None) for line, record_id in lines.items() if line not in refused)
        events = pipeline.drain(self._topics.events)
        for event in events:
            self._view.apply(orjson.loads(event))
        self._append("events.jsonl", events)
        self._append("possible.jsonl", pipeline.drain(self._topics.possible))
        self._append("dead_letters.jsonl", [orjson.dumps(letter) for letter in letters])
        pipeline.drain(self._topics.clusters)

    def finish(self, source: Path, verdicts: int) -> Summary:
        clusters, assignments = self._view.clusters, self._view.assignments
        with (self._out / "clusters.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "cluster_id"])
            # a record alone is a cluster of its own; a colon keeps its name apart from minted ones
            writer.writerows((record_id, assignments.get(record_id, f"alone:{record_id}")) for record_id in self._ids)
        summary = Summary(
            input=str(source),
            profile=self._profile,
            records=len(self._ids),
            rejected=self._counts["dead_letters.jsonl"],
            clusters=len(clusters),
            clustered_records=len(assignments),
            largest_cluster=max(map(len, clusters.values()), default=0),
            events=self._counts["events.jsonl"],
            possible_events=self._counts["possible.jsonl"],
            verdicts=verdicts,
            fingerprint=self._fingerprint,
        )
        (self._out / "summary.json").write_bytes(orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2))
        return summary

    def _append(self, name: str, values: Sequence[bytes]) -> None:
        self._counts[name] += len(values)
        with (self._out / name).open("ab") as file:
            file.writelines(value + b"\n" for value in values)


def run_batch(
    settings: Settings, source: Path, out: Path, progress: Callable[[int], None], feedback: Path | None = None
) -> Summary:
    """Cluster a JSONL file whose records have an `id`; a repeated id is an update.

    What people say of pairs, in the JSONL file `feedback`, is applied after the records. Pictures named by a relative address are read from the file's own folder, and only from inside it.

    Writes `clusters.csv` (id, cluster_id: every accepted record, alone or not), `events.jsonl`, `possible.jsonl`,
    `dead_letters.jsonl` and `summary.json` into `out`. `progress` is told how many bytes more were read.
    Raises SettingsError for paths that cannot be used, for a file without a record, and for words that are not as they should be.
    """
    profile = load_profile(settings.profile)
    words = _words(feedback, settings.topics.feedback, profile) if feedback else []
    encoders = build_encoders(settings, profile, source.parent)
    pipeline = MemoryPipeline(settings, encoders)
    try:
        outputs = _Outputs(
            out, [source, *([feedback] if feedback else [])], settings, profile.name, encoders.fingerprint
        )
        collect_rarely()
        for chunk in chunks(source, profile.input, progress):
            pipeline.feed([message for message, _ in chunk.values()])
            outputs.take(pipeline, {line: record_id for line, (_, record_id) in chunk.items()})
        pipeline.feed(words)
        outputs.take(pipeline, {})
        summary = outputs.finish(source, len(words))
    except OSError as error:
        raise SettingsError(f"{error.filename or out}: {error.strerror}") from error
    if not summary.records:
        raise no_record(source, outputs.first_letter)
    return summary


def chunks(source: Path, topic: str, progress: Callable[[int], None]) -> Iterator[dict[int, tuple[Outgoing, str]]]:
    """Line number → message and record id. Times count up from the file's own, so that a run can be repeated."""
    started_ms = int(source.stat().st_mtime * 1000)
    chunk: dict[int, tuple[Outgoing, str]] = {}
    for number, line in enumerate(lines_of(source), start=1):
        progress(len(line))
        if not line.strip():
            continue
        key, record_id = _key(line, number)
        headers = {_LINE_HEADER: str(number).encode()}
        fits = len(line) <= MESSAGE_MAX_BYTES
        if not fits:  # as no topic takes it; decoding rejects what is in its place
            headers[_WHY_HEADER] = f"larger than {MESSAGE_MAX_BYTES // 1024**2} MiB".encode()
        message = Outgoing(topic, key, line if fits else b"", headers, None, started_ms + number)
        chunk[number] = message, record_id
        if len(chunk) == _CHUNK_RECORDS:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


def _words(feedback: Path, topic: str, profile: Profile) -> list[Outgoing]:
    """What people say, as messages; their times count up from the file's own, as those of records do."""
    said = read_statements(feedback, profile)
    started_ms = int(feedback.stat().st_mtime * 1000)
    return [
        Outgoing(topic, message_key(one), orjson.dumps(one), {}, None, started_ms + number)
        for number, one in enumerate(said, start=1)
    ]


def _key(line: bytes, number: int) -> tuple[bytes | None, str]:
    """The message key a line asks for. A line that is not JSON gets any key, so that decoding tells what is wrong."""
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError:
        return f"line {number}".encode(), ""
    record_id = content.get("id") if isinstance(content, dict) else f"line {number}"
    return (record_id.encode(), record_id) if isinstance(record_id, str) else (None, "")
