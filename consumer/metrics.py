"""Every metric, declared once. Labels are bounded: stages, modalities, reasons of ours; never an id or a scope."""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from consumer.records import ClusterEventKind, Saying

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_PROBABILITIES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_CLUSTERS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500)


def _from_zero(counter: Counter, *values: str) -> Counter:
    """With a sample for each value of its label: to Prometheus, a count that begins at 1 has not increased."""
    for value in values:
        counter.labels(value)
    return counter


class Metrics:
    """The metrics of this process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self.memory_limit = Gauge(
            "dedup_memory_limit_bytes",
            "Memory limit of the container of this process; 0 where there is none.",
            registry=r,
        )
        self.step_seconds = Histogram(
            "dedup_step_seconds", "Time of one step of a batch.", ["stage", "step"], buckets=_FAST, registry=r
        )
        self.encoder_seconds = Histogram(
            "dedup_encoder_seconds",
            "Time to encode one batch in one modality.",
            ["modality"],
            buckets=_FAST,
            registry=r,
        )
        self.latency_seconds = Histogram(
            "dedup_latency_seconds",
            "From the input message's timestamp until the outcome of this stage is with the broker.",
            ["stage"],
            buckets=_LATENCY,
            registry=r,
        )
        self.batch_records = Histogram(
            "dedup_batch_records", "Messages in a batch.", ["stage"], buckets=_SIZES, registry=r
        )
        self.records = Counter("dedup_records", "Messages processed.", ["stage"], registry=r)
        self.rejected = Counter("dedup_rejected", "Messages sent to a dead-letter topic.", ["stage"], registry=r)
        self.reject_streak = Gauge(
            "dedup_reject_streak_ratio",
            "Messages rejected in a row, as a share of `limits.consecutive_rejects`: above 1 the process stops.",
            ["stage"],
            registry=r,
        )
        self.modalities = Counter(
            "dedup_modalities",
            "Records encoded, by whether the modality was `present` in them or `missing`.",
            ["modality", "outcome"],
            registry=r,
        )
        self.stale = Counter("dedup_stale", "Vectors ignored because a later version was seen before.", registry=r)
        self.denied = Counter(
            "dedup_denied",
            "Records that were erased, came again, and were not taken in, as `matching.reingest` says.",
            registry=r,
        )
        self.erased = Counter("dedup_erased", "Erasures obeyed, by each scope that had the record.", registry=r)
        self.feedback = _from_zero(
            Counter(
                "dedup_feedback",
                "Words of people on pairs: `same`, `different`, `undecided`, or `other_profile`, which are passed over.",
                ["says"],
                registry=r,
            ),
            *get_args(Saying),
            "other_profile",
        )
        self.decided = _from_zero(
            Counter(
                "dedup_decided",
                "Records decided, by what the best of their candidates is: `duplicate`, `possible`, or `different`.",
                ["outcome"],
                registry=r,
            ),
            "duplicate",
            "possible",
            "different",
        )
        self.best_probability = Histogram(
            "dedup_best_probability",
            "Match probability of the best candidate of each record; 0 where none is even possible.",
            buckets=_PROBABILITIES,
            registry=r,
        )
        self.changes = _from_zero(
            Counter(
                "dedup_changes",
                "Changes decided, by kind: of clusters, and of pairs for a person, `found` or `withdrawn`.",
                ["kind"],
                registry=r,
            ),
            *get_args(ClusterEventKind),
            "found",
            "withdrawn",
        )
        self.cluster_records = Histogram(
            "dedup_cluster_records",
            "Members of a cluster after each change of them; of one that ended, nothing.",
            buckets=_CLUSTERS,
            registry=r,
        )
        self.verdicts = _from_zero(
            Counter(
                "dedup_verdicts",
                "Words of people that reached the matcher: `obeyed`, or `void`: older than another, or on an erased record.",
                ["outcome"],
                registry=r,
            ),
            "obeyed",
            "void",
        )
        self.prior_shift = Gauge(
            "dedup_prior_shift_log_odds",
            "How far the prior of the owned scope that is farthest is from that of training.",
            registry=r,
        )
        self.redo_depth = Gauge(
            "dedup_redo_depth", "Records whose clusters wait to be judged again, over the owned scopes.", registry=r
        )
        self.transactions = _from_zero(
            Counter(
                "dedup_transactions",
                "Kafka transactions of the matcher: `committed` or `aborted`.",
                ["outcome"],
                registry=r,
            ),
            "committed",
            "aborted",
        )
        self.lag = Gauge("dedup_lag_records", "Messages waiting, over the assigned partitions.", ["stage"], registry=r)
        self.index_records = Gauge("dedup_index_records", "Vectors in the indexes of this process.", registry=r)
        self.partitions = Gauge("dedup_assigned_partitions", "Partitions owned.", ["stage"], registry=r)
        self.partition_offset = Gauge(
            "dedup_partition_offset",
            "Next offset to be decided of each partition of the vectors topic that this process owns, and of no other.",
            ["partition"],
            registry=r,
        )
        self.vectors_partitions = Gauge(
            "dedup_vectors_partitions",
            "Partitions of the vectors topic, as an encoder addresses them; 0 where none runs.",
            registry=r,
        )
        self.lost_partitions = Counter(
            "dedup_lost_partitions",
            "Partitions that the group gave to another before this process had let them go.",
            registry=r,
        )
        self.waiting = Gauge(
            "dedup_waiting", "1 while a service this stage needs does not answer.", ["stage"], registry=r
        )
        self.ready = Gauge("dedup_ready", "1 once the stage does its work.", ["stage"], registry=r)
        self.snapshot_seconds = Histogram(
            "dedup_snapshot_seconds",
            "Time of an index snapshot: to `stage` it, while the stream stands still, to `publish` it, to `load` it.",
            ["action"],
            buckets=_LATENCY,
            registry=r,
        )
        self.snapshot_offset = Gauge(
            "dedup_snapshot_offset",
            "Offset of the last snapshot written or loaded: a restart reads the partition from there.",
            ["partition"],
            registry=r,
        )
        self.snapshot_failures = _from_zero(
            Counter(
                "dedup_snapshot_failures",
                "Snapshots not written (`save`), not reached (`load`) or not trusted (`refused`); the stream goes on.",
                ["action"],
                registry=r,
            ),
            "save",
            "load",
            "refused",
        )
        self.standby_lag = Gauge(
            "dedup_standby_lag_records",
            "Messages not yet in the indexes kept for partitions of others.",
            registry=r,
        )
        self.standby_records = Gauge(
            "dedup_standby_records", "Vectors in the indexes kept for partitions of others.", registry=r
        )
        self.images = Counter(
            "dedup_images",
            "Pictures by outcome; only `read` ones take part in matching.",
            ["outcome"],
            registry=r,
        )
        self.cached_texts = Counter(
            "dedup_cached_texts",
            "Texts asked of the caches of the text encoders: `hit`, also for one twice in a batch, or `miss`.",
            ["outcome"],
            registry=r,
        )
        self.warm_up_seconds = Gauge(
            "dedup_warm_up_seconds", "Time an encoder took for its first runs, before ready.", ["modality"], registry=r
        )
        self.model = Gauge(
            "dedup_model_info",
            "1; which encoder runs on which provider.",
            ["modality", "encoder", "provider"],
            registry=r,
        )
        self.fell_back = Gauge(
            "dedup_provider_fell_back",
            "1 where a model runs on the processor though `models.providers` is set to begin with another.",
            ["modality"],
            registry=r,
        )
        self.build = Gauge(
            "dedup_build_info",
            "1; version, profile and fingerprint.",
            ["version", "profile", "fingerprint"],
            registry=r,
        )


METRICS = Metrics()
