"""`dedup explain`: why records are one or are not, from what is stored; or judged now, for two files."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from consumer.beliefs import Beliefs
from consumer.comparison import Comparison
from consumer.decode import DEFAULT_SCOPE, SCOPE, decode, parse_object
from consumer.encode import EncoderSet
from consumer.errors import RejectedError, SettingsError, StoreError
from consumer.explanation import (
    ClusterExplanation,
    FilesExplanation,
    PairExplanation,
    Place,
    RecordExplanation,
    Standing,
    explain_cluster,
    explain_pair,
    explain_record,
    possible_rule,
)
from consumer.fusion_spec import LearnedSpec
from consumer.links import link_of
from consumer.ports import ClusterStore
from consumer.profile import Profile, load_profile
from consumer.records import Evidence, Match, Message, Position, Record, Vector
from consumer.settings import Settings
from consumer.wiring import build_encoders, build_fusion, build_store

Explanation = PairExplanation | RecordExplanation | ClusterExplanation
_Found = TypeVar("_Found")


def explain_stored(settings: Settings, names: Sequence[str], scope: str | None) -> Explanation:
    """What the service's store says of two records, of a cluster, or of a record. Raises DedupError."""
    profile = load_profile(settings.profile)
    place = Place(profile.name, _scope(profile, scope))
    store = build_store(settings, profile)
    try:
        return explain_names(store, place, names, _certain(settings, profile))
    finally:
        store.close()


def explain_names(store: ClusterStore, place: Place, names: Sequence[str], certain: float) -> Explanation:
    """One name is a cluster, now or once, else a record; two are records. Raises SettingsError for the unknown.

    `certain` is the probability from which a pair is a duplicate, if it shows enough of itself.
    """
    if len(names) == 2:
        a, b = names
        if a == b:
            raise SettingsError(f"{a} is named twice; name two records")
        found = _steady(lambda: explain_pair(store, place, a, b, certain))
        if found.link is None:
            _refuse_unknown(place, found.left, found.right)
        return found
    (name,) = names
    cluster = _steady(lambda: explain_cluster(store, place, name))
    if cluster is not None:
        return cluster
    cluster_id = store.assignment(place.scope, name)
    cluster = _steady(lambda: explain_cluster(store, place, cluster_id)) if cluster_id else None
    if cluster is not None:
        return cluster
    alone = _steady(lambda: explain_record(store, place, name))
    _refuse_unknown(place, alone.record)
    return alone


def _refuse_unknown(place: Place, *records: Standing) -> None:
    unknown = [record.id for record in records if record.state == "unknown"]
    if not unknown:
        return
    what = "neither a cluster nor a record" if len(records) == 1 else "no record"
    raise SettingsError(
        f"{' and '.join(unknown)}: {what} of {place.profile}/{place.scope}; check the id, --profile and --scope"
    )


def explain_files(settings: Settings, left: Path, right: Path) -> FilesExplanation:
    """Judge the records of two JSON files as the service would, were they the only ones. Raises DedupError.

    Relative addresses of pictures are read from the folder of the files, if that is one.
    """
    profile = load_profile(settings.profile)
    records = [_record(path, profile) for path in (left, right)]
    encoders = build_encoders(settings, profile, left.parent if left.parent == right.parent else None)
    one, other = encoders.encode(records)
    standings = [
        Standing(str(path), "known", None, vector.born_ms, vector.quality)
        for path, vector in ((left, one), (right, other))
    ]
    decided, told = _judged(settings, encoders, one, other)
    shared = [name for i, name in enumerate(profile.modalities) if (one.mask & other.mask) >> i & 1]
    return FilesExplanation(
        profile=profile.name,
        left=standings[0],
        right=standings[1],
        outcome="different" if decided is None else "duplicate" if decided.duplicate else "possible",
        rule=_rule(one, other, decided, _certain(settings, profile)),
        link=link_of(str(left), str(right), Evidence(str(left), str(right), told), None) if told and shared else None,
        not_compared=[name for name in profile.modalities if name not in shared],
        keep=min(standings, key=lambda s: (-(s.quality or 0.0), s.born_ms or 0)).id,
    )


def _record(path: Path, profile: Profile) -> Record:
    try:
        content = path.read_bytes()
        record_id = parse_object(content).get("id")
        key = record_id if isinstance(record_id, str) else path.stem
        now_ms = time.time_ns() // 1_000_000
        record = decode(Message(Position(str(path), 0, 0), key.encode(), content, now_ms), profile)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except RejectedError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(record, Record):
        raise TypeError("a message with a value is a record")
    return record


def _judged(settings: Settings, encoders: EncoderSet, one: Vector, other: Vector) -> tuple[Match | None, Match | None]:
    """The decision; and the same with what it rests on, which is not kept of a pair that is different."""
    rows = np.stack([one.values, other.values]).astype(np.float32)
    similarities = encoders.layout.cosines(rows[:1], rows[1:])
    pair = Comparison(np.zeros(1, np.int64), [other.id], similarities, np.asarray([[one.mask, other.mask]], np.int64))
    fusion = build_fusion(settings, encoders)
    (decided,), (told,) = (fusion.judge(pair, Beliefs(), different=all_of_it) for all_of_it in (False, True))
    return decided, told


def _rule(one: Vector, other: Vector, decided: Match | None, certain: float) -> str:
    if one.scope != other.scope:
        return "other_scope"
    if decided is None:
        return "different" if one.mask & other.mask else "nothing_shared"
    return "threshold" if decided.duplicate else possible_rule(decided.probability, certain)


def _certain(settings: Settings, profile: Profile) -> float:
    """The probability from which a pair with enough evidence is a duplicate: even odds, where thresholds are on a score."""
    spec = profile.chosen_fusion(settings.matching.fusion)
    return spec.duplicate if isinstance(spec, LearnedSpec) else 0.5


def _scope(profile: Profile, scope: str | None) -> str:
    if scope is not None:
        if not SCOPE.fullmatch(scope):
            raise SettingsError(f"--scope: {scope!r} is none; 1 to 64 letters, digits, dots, dashes or underscores")
        return scope
    if profile.scope is not None:
        raise SettingsError(
            f"the profile {profile.name} keeps scopes apart (field {profile.scope}): name one with --scope"
        )
    return DEFAULT_SCOPE


def _steady(ask: Callable[[], _Found]) -> _Found:
    """Ask again, once: a matcher may have moved what was being read."""
    try:
        return ask()
    except StoreError:
        return ask()
