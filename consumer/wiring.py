"""Settings → adapters → engine: encoders, what decides, stores and topics, as a deployment chose them."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

from threadpoolctl import threadpool_limits

from consumer.adapters import kafka_topics
from consumer.adapters.allow_list import AllowList
from consumer.adapters.behaviour_encoder import BehaviourEncoder
from consumer.adapters.codes_encoder import CodesEncoder
from consumer.adapters.device_encoder import DeviceEncoder
from consumer.adapters.fitted_encoder import FittedEncoder
from consumer.adapters.hash_encoder import HashEncoder
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.adapters.lexical_encoder import LexicalEncoder
from consumer.adapters.likeness import Likeness
from consumer.adapters.onnx_decider import OnnxDecider
from consumer.adapters.onnx_image_encoder import OnnxImageEncoder
from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.price_encoder import PriceEncoder
from consumer.adapters.quantities_encoder import QuantitiesEncoder
from consumer.adapters.redis_clusters import RedisClusters
from consumer.adapters.redis_inventory import RedisInventory
from consumer.adapters.subword_encoder import SubwordEncoder, is_subword
from consumer.cores import available_cores
from consumer.decisions import Policy
from consumer.encode import EncoderSet
from consumer.errors import ModelError, SettingsError
from consumer.fusion import Fusion, WeightedFusion
from consumer.fusion_spec import WeightedSpec
from consumer.indexes import new_index
from consumer.learned_fusion import LearnedFusion
from consumer.loop import Limits
from consumer.match import MatchStage
from consumer.match_settings import MatchSettings
from consumer.merging import MergeRules
from consumer.metrics import METRICS
from consumer.names import dead_letter_topic
from consumer.outbox import MatchTopics
from consumer.ports import ClusterStore, Encoder, Model, SnapshotStore
from consumer.profile import (
    BehaviourModality,
    CodesModality,
    DeviceModality,
    HashModality,
    ImageModality,
    LexicalModality,
    Modality,
    PriceModality,
    Profile,
    QuantitiesModality,
    TextModality,
)
from consumer.redo import Repair
from consumer.rotation import Rotation
from consumer.sections import DEAD_LETTER_ROOM_BYTES, MESSAGE_MAX_BYTES
from consumer.settings import Settings

_HOUR_SECONDS = 3600
_BROKER_TIMEOUT_SECONDS = 15.0


def models_directory(settings: Settings) -> Path:
    """Where the models are: as set, beside the package in a wheel, or in the source tree."""
    if settings.models.directory is not None:
        return settings.models.directory
    packaged = Path(__file__).parent / "models"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "models" / "onnx"


def build_encoders(settings: Settings, profile: Profile, base: Path | None = None) -> EncoderSet:
    """Load every encoder of the profile. Raises ModelError or SettingsError.

    `base` is a folder that relative addresses of pictures are read from.
    """
    # matrices are small in both stages: threads of their own cost twice the time, and take it from the other stage
    threadpool_limits(limits=1, user_api="blas")
    encoders = {name: _encoder(settings, m, base) for name, m in profile.modalities.items()}
    for name, modality in profile.modalities.items():
        encoder = encoders[name]
        provider = encoder.provider if isinstance(encoder, Model) else "numpy"
        METRICS.model.labels(name, modality.encoder, provider).set(1)
        if isinstance(encoder, Model):
            METRICS.fell_back.labels(name).set(
                provider == CPU and bool(encoder.passed_over) and _asks_for_more(settings)
            )
    made = EncoderSet(profile, encoders, _rotation(settings, encoders))
    METRICS.build.labels(metadata.version("dedup-consumer"), profile.name, made.fingerprint).set(1)
    return made


def _asks_for_more(settings: Settings) -> bool:
    """Whether a person said that models should run on more than the processor; the default says so everywhere."""
    return "providers" in settings.models.model_fields_set and settings.models.providers[:1] != [CPU]


def _rotation(settings: Settings, encoders: Mapping[str, Encoder]) -> Rotation | None:
    key = settings.privacy.rotation_key_bytes
    return None if key is None else Rotation(key, {name: encoder.dim for name, encoder in encoders.items()})


def _encoder(settings: Settings, modality: Modality, base: Path | None) -> Encoder:
    if isinstance(modality, LexicalModality):
        key = settings.privacy.key_bytes
        return LexicalEncoder(modality.fields, modality.dim, key, words=modality.words, digits=modality.digits)
    if isinstance(modality, BehaviourModality | DeviceModality):
        return _habits(settings, modality)
    if isinstance(modality, CodesModality | QuantitiesModality):
        kind = CodesEncoder if isinstance(modality, CodesModality) else QuantitiesEncoder
        return kind(modality.fields, modality.dim, settings.privacy.key_bytes)
    if isinstance(modality, PriceModality):
        return PriceEncoder(modality.fields[0])
    if isinstance(modality, HashModality):
        return HashEncoder(modality.fields[0], modality.bits)
    return _model(settings, modality, base)


def _habits(settings: Settings, modality: BehaviourModality | DeviceModality) -> Encoder:
    """The fixed encoder, or the one that was fitted on its features."""
    fields = modality.fields
    fixed = (
        BehaviourEncoder(fields[0]) if isinstance(modality, BehaviourModality) else DeviceEncoder(fields[0], fields[1])
    )
    if modality.model is None:
        return fixed
    return FittedEncoder(models_directory(settings) / modality.model, modality.encoder, fixed)


def _model(settings: Settings, modality: TextModality | ImageModality, base: Path | None) -> Encoder:
    folder = models_directory(settings) / modality.model
    threads = settings.models.threads or available_cores()
    engines = settings.state.directory / "engines"
    if isinstance(modality, ImageModality):
        return OnnxImageEncoder(
            folder,
            modality.fields,
            _image_store(settings, base),
            likeness=Likeness(modality.floor, modality.reach),
            providers=settings.models.providers,
            threads=threads,
            fetches=settings.images.fetches,
            batch_seconds=settings.images.batch_seconds,
            engines=engines,
        )
    kind: Callable[..., Encoder] = OnnxTextEncoder
    if is_subword(folder):
        kind = partial(SubwordEncoder, codes=modality.codes)
    encoder = kind(
        folder,
        modality.fields,
        providers=settings.models.providers,
        threads=threads,
        cache_entries=settings.models.cache_entries,
        engines=engines,
    )
    # Only now: of a folder that is no model at all, the encoder says so itself.
    if not modality.codes and isinstance(encoder, OnnxTextEncoder):
        raise SettingsError(
            f"codes: false needs a subword model, and {folder} is none; leave it out, or name another model"
        )
    return encoder


def _image_store(settings: Settings, base: Path | None) -> ImageStore:
    images = settings.images
    chosen = FetchLimits(images.max_bytes, images.timeout_seconds, images.attempts)
    return ImageStore(AllowList(images.allow, base), chosen, images.ca_file)


def build_store(settings: Settings, profile: Profile) -> RedisClusters:
    """The cluster store; connects at its first call."""
    denied = settings.matching.reingest == "deny"
    return RedisClusters(
        settings.redis.url.get_secret_value(),
        profile=profile.name,
        key=settings.privacy.key_bytes,
        erased_ttl_seconds=None if denied else settings.matching.erased_days * 24 * _HOUR_SECONDS,
        prefix=settings.redis.prefix,
        cluster=settings.redis.cluster,
        timeout_seconds=settings.redis.timeout_seconds,
    )


def build_inventory(settings: Settings, profile: Profile) -> RedisInventory:
    """The same store, to be read whole; connects at its first call."""
    return RedisInventory(
        settings.redis.url.get_secret_value(),
        profile=profile.name,
        key=settings.privacy.key_bytes,
        prefix=settings.redis.prefix,
        cluster=settings.redis.cluster,
        timeout_seconds=settings.redis.timeout_seconds,
    )


def topic_specs(settings: Settings, profile: Profile) -> list[kafka_topics.TopicSpec]:
    """Every topic the profile uses, as it should be."""
    topics, hours = settings.topics, settings.topics.retention_hours
    large = {"max.message.bytes": str(MESSAGE_MAX_BYTES)}
    kept = {**large, "retention.ms": str(hours * _HOUR_SECONDS * 1000 if hours >= 0 else -1)}
    tombstones = {"delete.retention.ms": str(topics.tombstone_hours * _HOUR_SECONDS * 1000)}
    # else the log of a quiet topic is never cleaned, and what was erased stays in it
    lag = {"max.compaction.lag.ms": tombstones["delete.retention.ms"]}
    compacted = {**large, "cleanup.policy": "compact", **tombstones, **lag}
    # a dead letter is its message and the headers that say what is wrong with it: the largest must fit too
    letters = {**kept, "max.message.bytes": str(MESSAGE_MAX_BYTES + DEAD_LETTER_ROOM_BYTES)}
    configs = {
        profile.input: kept,
        dead_letter_topic(profile.input): letters,
        topics.feedback: kept,
        dead_letter_topic(topics.feedback): letters,
        profile.vectors_topic: compacted,
        dead_letter_topic(profile.vectors_topic): letters,
        topics.events: kept,
        topics.clusters: compacted,
        topics.possible: kept,
    }
    return [kafka_topics.TopicSpec(name, topics.partitions, topics.replication, c) for name, c in configs.items()]


def create_topics(settings: Settings, profile: Profile) -> list[tuple[str, str]]:
    """Make what is missing; (name, `created` | `exists` | `error: …`) per topic. Raises BrokerError."""
    require_brokers(settings)
    return kafka_topics.create(settings.kafka.client_properties, topic_specs(settings, profile))


def check_brokers(settings: Settings) -> None:
    """Raise BrokerError when the cluster does not answer."""
    require_brokers(settings)
    kafka_topics.check(settings.kafka.client_properties, _BROKER_TIMEOUT_SECONDS)


def require_brokers(settings: Settings) -> None:
    """Raise SettingsError when no broker was named."""
    if not settings.kafka.bootstrap_servers:
        raise SettingsError(
            "kafka.bootstrap_servers is not set: set DEDUP_KAFKA__BOOTSTRAP_SERVERS=host:9092, or try `dedup demo`"
        )


def build_fusion(settings: Settings, encoders: EncoderSet) -> Fusion:
    """What decides on a pair: the profile's, or the alternative that is set. Raises SettingsError or ModelError."""
    spec = encoders.profile.chosen_fusion(settings.matching.fusion)
    if isinstance(spec, WeightedSpec):
        return WeightedFusion(encoders.layout, spec)
    folder = models_directory(settings) / spec.model
    decider = OnnxDecider(folder)
    if unknown := sorted(set(decider.modalities) - set(encoders.layout.names)):
        raise ModelError(
            f"{folder}: weighs what profile {encoders.profile.name} does not have: {', '.join(unknown)}; "
            "fit one for it with `python -m export fusion`"
        )
    return LearnedFusion(encoders.layout, spec, decider)


def build_match_stage(
    settings: Settings,
    encoders: EncoderSet,
    store: ClusterStore,
    snapshots: SnapshotStore,
    position: Callable[[int], int | None] = lambda _: None,
    committed: Callable[[int], int] = lambda _: 0,
    partitions: Callable[[str], int] = lambda _: 1,
) -> MatchStage:
    """The match stage over any store: Redis in the service, memory in `dedup batch`. `partitions` of a topic it writes to."""
    profile = encoders.profile
    names = (settings.topics.events, settings.topics.clusters, settings.topics.possible)
    topics = MatchTopics(*names, {name: partitions(name) for name in names})
    return MatchStage(
        MatchSettings(
            profile=profile.name,
            vectors_topic=profile.vectors_topic,
            fingerprint=encoders.fingerprint,
            mint_key=settings.privacy.key_bytes,
            topics=topics,
            neighbours=settings.index.neighbours,
            policy=_policy(settings),
            snapshot_records=settings.state.snapshot_records,
            erased_snapshot_ms=int(settings.state.erased_minutes * 60_000),
            deny_erased=settings.matching.reingest == "deny",
        ),
        build_fusion(settings, encoders),
        store,
        snapshots,
        new_index(settings, encoders.layout.dim),
        position,
        committed,
    )


def _policy(settings: Settings) -> Policy:
    chosen = settings.matching
    rules = MergeRules(chosen.max_cluster_size, chosen.quorum, settings.index.neighbours)
    return Policy(rules, Repair(chosen.repair_records, chosen.redo_per_row), chosen.exemplar_alpha)


def limits(settings: Settings) -> Limits:
    chosen = settings.limits
    return Limits(chosen.batch_records, chosen.poll_seconds, chosen.consecutive_rejects)
