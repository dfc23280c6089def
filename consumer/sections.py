"""The groups of settings, as `consumer.settings` puts them together. Secrets are `SecretStr`: printing never shows one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from consumer.strict import Strict

# Above these the libraries that count take no number: librdkafka and hnswlib an int of C, sockets a time.
_MOST, _MOST_SECONDS = 2**31 - 1, 1_000_000
Positive = Annotated[int, Field(gt=0, le=_MOST)]
NotNegative = Annotated[int, Field(ge=0, le=_MOST)]
PositiveFloat = Annotated[float, Field(gt=0, le=_MOST_SECONDS)]

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
"""Topics made here accept messages up to this, so that a record with a 10 MB title is input, not an outage."""
DEAD_LETTER_ROOM_BYTES = 32 * 1024
"""Beyond that, for the headers of a dead letter."""


class KafkaSettings(Strict):
    """The brokers, and the names this deployment uses on them."""

    bootstrap_servers: str = Field(default="", description="Brokers, `host:port[,host:port]`. Required by `dedup run`.")
    group: str = Field(
        default="dedup", description="Prefix of the consumer groups `<group>.<profile>.encode` and `….match`."
    )
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once",
        description="Of the matcher's events. `exactly_once`: in transactions, together with its offsets; a `read_committed` "
        "subscriber sees each event once. `at_least_once`: after a crash the same events may come again, byte for byte.",
    )
    instance: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="A name that no other process of the deployment has, the same after a restart (a pod's of a "
        "StatefulSet): static membership, so that a restart moves no partition, and ends at once what a crash left unfinished.",
    )
    properties: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Any librdkafka property, for every client: `security.protocol`, `sasl.password`, … "
        "In the environment write dots as underscores: `DEDUP_KAFKA__PROPERTIES__SECURITY_PROTOCOL`.",
    )

    consumer: dict[str, SecretStr] = Field(
        default_factory=dict, description="The same, for consumers only: `group.protocol`, `fetch.…`"
    )
    producer: dict[str, SecretStr] = Field(
        default_factory=dict, description="The same, for producers only: `linger.ms`, `compression.type`, …"
    )

    @field_validator("properties", "consumer", "producer", mode="before")
    @classmethod
    def _dotted(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {
            str(name).lower().replace("_", "."): str(v).lower()
            if isinstance(v, bool)
            else v
            if isinstance(v, SecretStr)
            else str(v)
            for name, v in value.items()
        }

    @property
    def client_properties(self) -> dict[str, str]:
        """For clients that neither produce nor consume."""
        return self._revealed(self.properties)

    @property
    def consumer_properties(self) -> dict[str, str]:
        member = {} if self.instance is None else {"group.instance.id": self.instance}
        return {**member, **self._revealed(self.properties, self.consumer)}

    @property
    def producer_properties(self) -> dict[str, str]:
        return self._revealed(self.properties, self.producer)

    def _revealed(self, *layers: Mapping[str, SecretStr]) -> dict[str, str]:
        """Our own properties, then the user's, who wins."""
        given = {name: value.get_secret_value() for layer in layers for name, value in layer.items()}
        return {"bootstrap.servers": self.bootstrap_servers, **given}


class TopicSettings(Strict):
    """Topics, and how they are made where they are missing."""

    create: bool = Field(default=True, description="Make missing topics at start.")
    partitions: Positive = Field(
        default=12,
        description="Partitions of topics made here. Those of `vectors.<profile>` bound the matchers and must not change.",
    )
    replication: Annotated[int, Field(ge=-1, le=32767)] = Field(
        default=-1, description="Replicas of topics made here; -1: the broker's default."
    )
    retention_hours: Annotated[int, Field(ge=-1, le=_MOST)] = Field(
        default=168, description="Of inputs, feedback, events and dead letters made here; -1: for ever."
    )
    tombstone_hours: Positive = Field(
        default=168,
        description="How long a compacted topic keeps a null value, and at most what was replaced or erased. Snapshots "
        "older than half of it are not used.",
    )
    feedback: str = Field(
        default="duplicate-feedback", description="What people say of pairs; read by the services of every profile."
    )
    events: str = Field(default="duplicate-events", description="Cluster events.")
    clusters: str = Field(default="duplicate-clusters", description="Present state of each cluster, compacted.")
    possible: str = Field(default="possible-duplicates", description="Pairs for a person to decide.")


class RedisSettings(Strict):
    """Where assignments, clusters, evidence and the outbox live."""

    url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"),
        description="`redis://` or `rediss://` (TLS), with user and password where needed; with Sentinels "
        "`redis+sentinel://user:password@s1:26379,s2:26379/<primary>/0`.",
    )
    cluster: bool = Field(default=False, description="The address is of a Redis Cluster.")
    prefix: str = Field(default="dedup", pattern=r"^[A-Za-z0-9._-]+$", description="Prefix of every key.")
    timeout_seconds: PositiveFloat = Field(default=5.0, description="To connect, and for an answer.")


class ModelSettings(Strict):
    """The encoders."""

    directory: Path | None = Field(
        default=None, description="Folder of the models; default: those that come with the package."
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0,
        description="Threads of a model; 0: one per core that the affinity mask and the container's quota leave.",
    )
    providers: list[str] = Field(
        default_factory=lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        description="Execution providers, by preference; those that do not work here are passed over: `dedup doctor` "
        "says why.",
    )
    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=50_000,
        description="Texts whose vectors each text model keeps in memory, about 25 MB by default; 0: none. An erasure "
        "empties it.",
    )


class ImageSettings(Strict):
    """Pictures that records name by an address."""

    allow: list[str] = Field(
        default_factory=list,
        description="Prefixes of addresses that may be read: `https://cdn.example.com/products/`, `s3://bucket`, "
        "`file:///data`; `http://` only where written so. Empty: none; such pictures count as missing.",
    )
    max_bytes: Positive = Field(default=10 * 1024 * 1024, description="Of one picture's file; a larger one is missing.")
    timeout_seconds: PositiveFloat = Field(default=5.0, description="For one attempt to read a picture.")
    attempts: Positive = Field(default=2, description="Of a picture whose server does not answer or is busy.")
    batch_seconds: PositiveFloat = Field(
        default=30.0, description="For all addresses of a batch; pictures not read by then count as missing."
    )
    fetches: Annotated[int, Field(gt=0, le=256)] = Field(default=16, description="Pictures read at the same time.")
    ca_file: Path | None = Field(
        default=None, description="PEM certificates that https servers are checked against; default: the system's."
    )


class IndexSettings(Strict):
    """Candidate search."""

    neighbours: Positive = Field(default=20, description="k: candidates scored per record.")
    exact_below: NotNegative = Field(
        default=10_000,
        description="Records in a scope up to which search is exact; at least ten times `index.dims`, to learn from.",
    )
    dims: Positive = Field(
        default=64,
        description="Numbers that the graph keeps of a vector, to find candidates by; whole vectors, in a file, score them.",
    )
    m: Positive = Field(default=12, description="HNSW M: links per record.")
    ef_construction: Positive = Field(default=100, description="HNSW: width of the search for a new record's links.")
    ef: Positive = Field(default=96, description="HNSW: width of a search, and candidates scored by whole vectors.")
    threads: Annotated[int, Field(gt=0, le=1024)] = Field(
        default=2,
        description="Threads of a search among 200,000 records or more in a scope; among fewer it is one, and adding "
        "always uses one, so that a replay builds the same graph.",
    )


class MatchingSettings(Strict):
    """Decisions."""

    fusion: str | None = Field(
        default=None,
        description="What decides on pairs, by its name among the profile's `alternatives`; else its `fusion`.",
    )
    max_cluster_size: Annotated[int, Field(ge=2, le=_MOST)] = Field(
        default=100, description="A match that would make a larger cluster is held for a person."
    )
    quorum: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Share of the pairs between two groups that must be duplicates before they become one cluster; of a "
        "group larger than `index.neighbours`, of as many pairs as can be compared. 0: one pair is enough.",
    )
    repair_records: NotNegative = Field(
        default=50,
        description="Clusters beside those that a record touches are judged anew with them, up to so many records in all.",
    )
    redo_per_row: NotNegative = Field(
        default=2, description="Clusters that did not fit are judged later, so many with each record that comes."
    )
    exemplar_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7,
        description="The record to keep: what nearness to the centre of its cluster weighs; the rest is quality's.",
    )
    erased_days: Positive = Field(
        default=7,
        description="How long a late copy of an erased record is recognised; where `reingest` is denied: without end.",
    )
    reingest: Literal["allow", "deny"] = Field(
        default="allow",
        description="A record that was erased and is sent again: `allow` takes it in as a new one; `deny` does not, counts "
        "it in `dedup_denied_total`, and has its vector removed from `vectors`. What was erased is known by keyed digests.",
    )


_PUBLIC_KEY = "change-me"


class PrivacySettings(Strict):
    """Secrets of this deployment."""

    key: SecretStr = Field(
        default=SecretStr(_PUBLIC_KEY),
        description="Keys the n-gram hashes and cluster ids. Changing it makes all vectors and ids new.",
    )
    rotation_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        default=None,
        description="Turns all vectors by a secret rotation: see docs/privacy.md. At random, 16 characters or more; the "
        "same for encoders and matchers. Changing it makes all vectors new.",
    )

    @property
    def key_fault(self) -> str:
        """What is wrong with the key, which should be a secret; empty when nothing is."""
        key = self.key.get_secret_value()
        return {"": "is empty", _PUBLIC_KEY: "is the default, known to everyone"}.get(key, "")

    @property
    def key_bytes(self) -> bytes:
        return hashlib.sha256(self.key.get_secret_value().encode()).digest()

    @property
    def rotation_key_bytes(self) -> bytes | None:
        """None when vectors are not rotated."""
        if self.rotation_key is None:
            return None
        return hashlib.sha256(self.rotation_key.get_secret_value().encode()).digest()


class LimitSettings(Strict):
    """How much at once, and how much is put up with."""

    batch_records: Annotated[int, Field(gt=0, le=100_000)] = Field(
        default=256, description="Messages in a batch, at most."
    )
    poll_seconds: PositiveFloat = Field(default=0.5, description="Longest wait for a first message.")
    consecutive_rejects: Positive = Field(
        default=1000, description="More dead letters than this in a row stop the process."
    )
    drain_seconds: PositiveFloat = Field(default=25.0, description="Budget for finishing after SIGTERM.")
    stalled_seconds: PositiveFloat = Field(
        default=120.0, description="Without a turn of the loop for so long, `/livez` fails."
    )


class StateSettings(Strict):
    """Snapshots of the indexes, and indexes kept for others."""

    directory: Path = Field(
        default=Path("state"), description="Folder of this process alone: snapshots, where none is named, and engines."
    )
    snapshots: str | None = Field(
        default=None,
        description="Where snapshots are kept instead: any URL that fsspec can write to, `s3://bucket/prefix` (extra `s3`), "
        "`file:///srv/snapshots`. Matchers may share it. Credentials come as the system has them, never in the URL.",
    )
    standby: bool = Field(
        default=False,
        description="Keep the indexes of partitions that other matchers own too, to take them over in seconds. "
        "Takes the memory of all partitions.",
    )
    snapshot_records: Positive = Field(default=50_000, description="Messages between two snapshots of a partition.")
    erased_minutes: Annotated[float, Field(ge=0, le=_MOST_SECONDS)] = Field(
        default=60.0, description="A snapshot that may hold an erased record is replaced after so long."
    )

    @field_validator("snapshots")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, divided, rest = value.partition("://")
        if not (scheme and divided and rest.strip("/")):
            raise ValueError("not a URL such as s3://bucket/prefix or file:///srv/snapshots")
        if "@" in rest.partition("/")[0]:
            raise ValueError("a user or password in a URL ends up in logs: give credentials to the system instead")
        return value


class HttpSettings(Strict):
    """Metrics and health."""

    host: str = Field(default="0.0.0.0", description="Address of `/metrics`, `/livez`, `/readyz`.")  # noqa: S104  # pods are scraped from outside
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=9464, description="Port; 0: any free one.")


class LogSettings(Strict):
    """Logs, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level shown.")
    format: Literal["json", "console"] = Field(default="json", description="One JSON object a line, or coloured text.")
