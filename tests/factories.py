"""Small makers of the nouns, with defaults that need no thought. Everything here is real code of the package."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from consumer.adapters.behaviour_encoder import BehaviourEncoder
from consumer.adapters.device_encoder import DeviceEncoder
from consumer.adapters.lexical_encoder import LexicalEncoder
from consumer.background import Background
from consumer.beliefs import Expectations
from consumer.encode import EncoderSet
from consumer.ports import Encoder
from consumer.profile import BehaviourModality, DeviceModality, LexicalModality, Modality, Profile, load_profile
from consumer.records import Bools, Doubles, Floats, Message, Position, Vector

KEY = hashlib.blake2b(b"a key for tests", digest_size=32).digest()
NOW_MS = 1_760_000_000_000
PERSON = Path(__file__).parent / "profiles" / "person.yaml"


def person_profile(**changes: Any) -> Profile:
    """The profile of `profiles/person.yaml`, with top-level keys replaced."""
    if not changes:
        return load_profile(str(PERSON))
    return Profile.model_validate({**yaml.safe_load(PERSON.read_text(encoding="utf-8")), **changes})


def offer_profile(**changes: Any) -> Profile:
    """Every field type, a scope and a time of birth."""
    content = {
        "name": "offer",
        "input": "offers",
        "fields": {
            "title": {"type": "text"},
            "country": {"type": "text"},
            "price": {"type": "number"},
            "released": {"type": "date"},
            "seen": {"type": "timestamps"},
        },
        "modalities": {"title": {"encoder": "lexical", "fields": ["title"], "dim": 32, "weight": 1}},
        "fusion": {"duplicate": 0.8, "possible": 0.6, "slope": 20, "min_evidence": 0.5},
        "quality": {"completeness": {"fields": {"title": 1}}},
        "scope": "country",
        "born": "seen",
    }
    return Profile.model_validate({**content, **changes})


def encoder_set(profile: Profile | None = None, key: bytes = KEY) -> EncoderSet:
    """Real encoders for a profile without text models."""
    chosen = profile or person_profile()
    return EncoderSet(chosen, {name: _encoder(modality, key) for name, modality in chosen.modalities.items()})


def _encoder(modality: Modality, key: bytes) -> Encoder:
    if isinstance(modality, LexicalModality):
        return LexicalEncoder(modality.fields, modality.dim, key, words=modality.words, digits=modality.digits)
    if isinstance(modality, BehaviourModality):
        return BehaviourEncoder(modality.fields[0])
    if isinstance(modality, DeviceModality):
        return DeviceEncoder(modality.fields[0], modality.fields[1])
    raise TypeError(f"{modality.encoder} needs a model")


def position(offset: int = 0, partition: int = 0, topic: str = "persons") -> Position:
    return Position(topic, partition, offset)


def message(
    value: Mapping[str, object] | bytes | None,
    key: str | bytes | None = "r1",
    *,
    offset: int = 0,
    partition: int = 0,
    topic: str = "persons",
    timestamp_ms: int = NOW_MS,
    headers: Mapping[str, bytes] | None = None,
) -> Message:
    """An input message; a mapping becomes JSON."""
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    raw_key = key.encode() if isinstance(key, str) else key
    return Message(position(offset, partition, topic), raw_key, raw, timestamp_ms, headers or {})


def signup(name: str = "Ada Lovelace", city: str = "London", **changes: object) -> dict[str, Any]:
    """A complete value of the person profile; a field changed to None is null."""
    return {
        "name": name,
        "city": city,
        "browser": "Firefox 128.0",
        "os": "Linux",
        "login_times": ["2025-01-06T09:00:00+01:00", "2025-01-08T21:30:00+01:00"],
        **changes,
    }


def vector(record_id: str = "r1", dim: int = 8, **changes: Any) -> Vector:
    """An encoded record with one modality, all of it in the first number."""
    values = np.zeros(dim, np.float16)
    values[0] = 1
    content: dict[str, Any] = {
        "id": record_id,
        "scope": "default",
        "fingerprint": "f00d",
        "source": position(),
        "ingested_ms": NOW_MS,
        "born_ms": NOW_MS,
        "quality": 1.0,
        "mask": 1,
        "values": values,
    }
    return Vector(**{**content, **changes})


def unit_rows(n: int, dim: int, seed: int) -> Floats:
    """Random unit rows that float16 holds exactly, as rows of an index are."""
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LinearDecider:
    """A decider in numpy: log-odds that grow in a straight line with each similarity. Implements `consumer.learned_fusion.Decider`."""

    modalities: Sequence[str]
    slopes: Sequence[float]
    constants: Sequence[float]
    crowding: Mapping[str, float] = field(default_factory=dict)
    crowding_slopes: Sequence[float] = ()
    quality_slopes: Sequence[float] = ()
    """One, where it looks at quality."""
    expectations: Expectations = field(default_factory=lambda: Expectations([], 0.1, 0.5))
    fingerprint: str = "linear"
    whitened: Sequence[str] = ()
    background: Background | None = None

    @property
    def quality(self) -> bool:
        return bool(self.quality_slopes)

    def weigh(self, similarities: Floats, present: Bools, beyond: Doubles) -> Doubles:
        of_modalities = (similarities.astype(np.float64) * self.slopes + self.constants) * present
        base = np.full((len(similarities), 1), math.log(self.expectations.base_rate))
        return np.concatenate(
            [base, of_modalities, beyond * np.asarray([*self.crowding_slopes, *self.quality_slopes])], axis=1
        )
