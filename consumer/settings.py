"""Settings: one frozen tree, read once from defaults < file < `DEDUP_*` environment < command line.

Two underscores separate levels: `DEDUP_KAFKA__BOOTSTRAP_SERVERS`. All faults are reported at once. Secrets are
`SecretStr`, so that printing a tree never shows one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as EnvironmentSettingsError

from consumer.errors import SettingsError
from consumer.profile import describe_faults

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
"""Topics made here accept messages up to this, so that a record with a 10 MB title is input, not an outage."""
DEAD_LETTER_ROOM_BYTES = 32 * 1024
"""Beyond that, for the headers of a dead letter."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Frozen):
    """The brokers, and the names this deployment uses on them."""

    bootstrap_servers: str = Field(default="", description="Brokers, `host:port[,host:port]`. Required by `dedup run`.")
    group: str = Field(
        default="dedup", description="Prefix of the consumer groups `<group>.<profile>.encode` and `….match`."
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
        return self._revealed(self.properties, self.consumer)

    @property
    def producer_properties(self) -> dict[str, str]:
        return self._revealed(self.properties, self.producer)

    def _revealed(self, *layers: Mapping[str, SecretStr]) -> dict[str, str]:
        """Our own properties, then the user's, who wins."""
        given = {name: value.get_secret_value() for layer in layers for name, value in layer.items()}
        return {"bootstrap.servers": self.bootstrap_servers, **given}


class TopicSettings(_Frozen):
    """Topics, and how they are made where they are missing."""

    create: bool = Field(default=True, description="Make missing topics at start.")
    partitions: Positive = Field(
        default=12,
        description="Partitions of topics made here. Those of `vectors.<profile>` bound the matchers and must not change.",
    )
    replication: Annotated[int, Field(ge=-1)] = Field(
        default=-1, description="Replicas of topics made here; -1: the broker's default."
    )
    retention_hours: int = Field(
        default=168, description="Of inputs, feedback, events and dead letters made here; -1: for ever."
    )
    tombstone_hours: Positive = Field(
        default=168,
        description="How long a compacted topic keeps a null value. Snapshots older than half of it are not used.",
    )
    feedback: str = Field(
        default="duplicate-feedback", description="What people say of pairs; read by the services of every profile."
    )
    events: str = Field(default="duplicate-events", description="Cluster events.")
    clusters: str = Field(default="duplicate-clusters", description="Present state of each cluster, compacted.")
    possible: str = Field(default="possible-duplicates", description="Pairs for a person to decide.")


class RedisSettings(_Frozen):
    """Where assignments, clusters, evidence and the outbox live."""

    url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"),
        description="`redis://` or `rediss://` (TLS), with user and password where needed.",
    )
    cluster: bool = Field(default=False, description="The address is of a Redis Cluster.")
    prefix: str = Field(default="dedup", pattern=r"^[A-Za-z0-9._-]+$", description="Prefix of every key.")
    timeout_seconds: PositiveFloat = Field(default=5.0, description="To connect, and for an answer.")


class ModelSettings(_Frozen):
    """The encoders."""

    directory: Path | None = Field(
        default=None, description="Folder of the models; default: those that come with the package."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Threads of a model; 0: one per core that the affinity mask and the container's quota leave.",
    )
    providers: list[str] = Field(
        default_factory=lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        description="Execution providers, by preference; those that do not work here are passed over: `dedup doctor` "
        "says why.",
    )
    cache_entries: Annotated[int, Field(ge=0)] = Field(
        default=50_000,
        description="Texts whose vectors each text model keeps in memory, about 25 MB by default; 0: none. An erasure "
        "empties it.",
    )


class ImageSettings(_Frozen):
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


class IndexSettings(_Frozen):
    """Candidate search."""

    neighbours: Positive = Field(default=20, description="k: candidates scored per record.")
    exact_below: Annotated[int, Field(ge=0)] = Field(
        default=10_000, description="Records in a scope up to which search is exact."
    )
    m: Positive = Field(default=16, description="HNSW M: links per record.")
    ef_construction: Positive = Field(default=128, description="HNSW: width of the search for a new record's links.")
    ef: Positive = Field(default=96, description="HNSW: width of a search.")
    threads: Positive = Field(
        default=1, description="Threads of a search. Adding uses one, so that a replay builds the same graph."
    )


class MatchingSettings(_Frozen):
    """Decisions."""

    fusion: str | None = Field(
        default=None,
        description="What decides on pairs, by its name among the profile's `alternatives`; else its `fusion`.",
    )
    max_cluster_size: Annotated[int, Field(ge=2)] = Field(
        default=100, description="A match that would make a larger cluster is held for a person."
    )
    quorum: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Share of the pairs between two groups that must be duplicates before they become one cluster; "
        "0: one pair is enough.",
    )
    repair_records: Annotated[int, Field(ge=0)] = Field(
        default=50,
        description="Clusters beside those that a record touches are judged anew with them, up to so many records in all.",
    )
    redo_per_row: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Clusters that did not fit are judged later, so many with each record that comes."
    )
    exemplar_alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7,
        description="The record to keep: what nearness to the centre of its cluster weighs; the rest is quality's.",
    )
    erased_days: Positive = Field(default=7, description="How long a late copy of an erased record is recognised.")


class PrivacySettings(_Frozen):
    """Secrets of this deployment."""

    key: SecretStr = Field(
        default=SecretStr("change-me"),
        description="Keys the n-gram hashes and cluster ids. Changing it makes all vectors and ids new.",
    )
    rotation_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        default=None,
        description="Turns all vectors by a secret rotation: see docs/privacy.md. At random, 16 characters or more; the "
        "same for encoders and matchers. Changing it makes all vectors new.",
    )

    @property
    def key_bytes(self) -> bytes:
        return hashlib.sha256(self.key.get_secret_value().encode()).digest()

    @property
    def rotation_key_bytes(self) -> bytes | None:
        """None when vectors are not rotated."""
        if self.rotation_key is None:
            return None
        return hashlib.sha256(self.rotation_key.get_secret_value().encode()).digest()


class LimitSettings(_Frozen):
    """How much at once, and how much is put up with."""

    batch_records: Positive = Field(default=256, description="Messages in a batch, at most.")
    poll_seconds: PositiveFloat = Field(default=0.5, description="Longest wait for a first message.")
    consecutive_rejects: Positive = Field(default=1000, description="So many dead letters in a row stop the process.")
    drain_seconds: PositiveFloat = Field(default=25.0, description="Budget for finishing after SIGTERM.")
    stalled_seconds: PositiveFloat = Field(
        default=120.0, description="Without a turn of the loop for so long, `/livez` fails."
    )


class StateSettings(_Frozen):
    """Snapshots of the index."""

    directory: Path = Field(default=Path("state"), description="Where snapshots are kept.")
    snapshot_records: Positive = Field(default=50_000, description="Messages between two snapshots of a partition.")


class HttpSettings(_Frozen):
    """Metrics and health."""

    host: str = Field(default="0.0.0.0", description="Address of `/metrics`, `/livez`, `/readyz`.")  # noqa: S104  # pods are scraped from outside
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=9464, description="Port; 0: any free one.")


class LogSettings(_Frozen):
    """Logs, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level shown.")
    format: Literal["json", "console"] = Field(default="json", description="One JSON object a line, or coloured text.")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="DEDUP_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    profile: str = Field(default="signup", description="`signup`, `listing`, or a path to a profile.")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    redis: RedisSettings = RedisSettings()
    models: ModelSettings = ModelSettings()
    images: ImageSettings = ImageSettings()
    index: IndexSettings = IndexSettings()
    matching: MatchingSettings = MatchingSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitSettings = LimitSettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load_settings` lays file, environment and command line over each other."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load_settings(config: Path | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the tree. `overrides` (from the command line) are dotted keys and win over everything.

    Raises SettingsError naming every fault with its key.
    """
    try:
        environment = EnvSettingsSource(Settings)()
        layers = _over(_read_file(config), environment)
        for dotted, value in (overrides or {}).items():
            layers = _replaced(layers, dotted.split("."), value)
        return Settings(**layers)
    except EnvironmentSettingsError as error:
        raise SettingsError(f"settings: {error}: lists and mappings are written as JSON there") from None
    except ValidationError as error:
        raise SettingsError(describe_faults("settings", error)) from None


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` laid over `lower`, mapping by mapping."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _replaced(tree: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    """The tree with one value replaced, whole."""
    name, *rest = path
    below = tree.get(name)
    return {**tree, name: _replaced(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def _read_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        # nothing of the file itself: what stands there may be a secret
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"settings file {config} is not YAML{place}") from None
    except OSError as error:
        raise SettingsError(f"settings file {config} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError):  # UnicodeDecodeError, and a date that is none, are ValueErrors
        raise SettingsError(f"settings file {config} is not YAML in UTF-8") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(f"settings file {config}: a mapping of settings is wanted")
    return content
