"""How good a record is, 0 to 1: the weighted mean of the signals that its profile names.

Every signal is 0 to 1 on a fixed scale, so that the quality of a record never depends on other records; one whose field is
missing is 0. Amounts saturate: `half` is the amount that is worth one half, twice as much is worth two thirds.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, model_validator

from consumer.records import FieldValue, Picture, Record
from consumer.strict import Strict
from consumer.times import moment

_DAY_MS = 24 * 3600 * 1000
_Positive = Annotated[float, Field(gt=0)]


class _Signal(Strict):
    weight: _Positive = 1.0
    """Share of the quality; only the ratios between signals matter."""


class Completeness(_Signal):
    """How much of what could be there is there."""

    fields: Annotated[Mapping[str, _Positive], Field(min_length=1)]
    """Field → share."""


class Recency(_Signal):
    """How new the latest of some times was when the record came, such as the last login: 1 now, one half after a half-life.

    It is of the day the record came. One that never comes again keeps it.
    """

    field: str
    half_life_days: _Positive


class Count(_Signal):
    """How many different times there are, such as logins."""

    field: str
    half: _Positive


class Length(_Signal):
    """How many characters a text has."""

    field: str
    half: _Positive


class Amount(_Signal):
    """How much there is of the picture that the image modality read: its pixels, or the bytes of its file."""

    half: _Positive


class QualitySpec(Strict):
    """The signals of a profile. Without any, every record has quality 1."""

    completeness: Completeness | None = None
    recency: Recency | None = None
    count: Count | None = None
    length: Length | None = None
    pixels: Amount | None = None
    bytes: Amount | None = None

    @model_validator(mode="before")
    @classmethod
    def _signals_not_shares(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and any(isinstance(value, int | float) for value in given.values()):
            raise ValueError(
                f"signals are wanted ({', '.join(cls.model_fields)}); the shares of fields stand below "
                "completeness, as in {completeness: {fields: {name: 0.6, city: 0.4}}}"
            )
        return given

    @cached_property
    def signals(self) -> Mapping[str, _Signal]:
        """Those that are named."""
        named = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: signal for name, signal in named if signal is not None}

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Of the signals that are named."""
        return {name: signal.weight for name, signal in self.signals.items()}

    @property
    def reads(self) -> Iterator[tuple[str, str, str | None]]:
        """Signal, field, and the type that field must have, where it matters."""
        for name in self.completeness.fields if self.completeness else ():
            yield "completeness", name, None
        for signal, chosen, wanted in (
            ("recency", self.recency, "timestamps"),
            ("count", self.count, "timestamps"),
            ("length", self.length, "text"),
        ):
            if chosen is not None:
                yield signal, chosen.field, wanted

    @property
    def of_pictures(self) -> Sequence[str]:
        """Signals that need a picture."""
        return [name for name in ("pixels", "bytes") if getattr(self, name) is not None]


def quality(spec: QualitySpec, record: Record, picture: Picture | None) -> float:
    """The weighted mean of the signals, to four decimals. `picture` is the one that was read, None where none was."""
    values = signals(spec, record, picture)
    weights = spec.weights
    total = sum(weights.values())
    return round(sum([weights[name] * value for name, value in values.items()]) / total, 4) if total else 1.0


def signals(spec: QualitySpec, record: Record, picture: Picture | None) -> Mapping[str, float]:
    """Each signal of the profile by name, 0 to 1."""
    found: dict[str, float] = {}
    fields = record.fields
    if spec.completeness:
        shares = spec.completeness.fields
        found["completeness"] = sum([share for name, share in shares.items() if name in fields]) / sum(shares.values())
    if spec.recency:
        found["recency"] = _recency(spec.recency, fields.get(spec.recency.field), record.ingested_ms)
    if spec.count:
        found["count"] = _saturated(len(set(_times(fields.get(spec.count.field)))), spec.count.half)
    if spec.length:
        text = fields.get(spec.length.field)
        found["length"] = _saturated(len(text) if isinstance(text, str) else 0, spec.length.half)
    if spec.pixels:
        found["pixels"] = _saturated(picture.width * picture.height if picture else 0, spec.pixels.half)
    if spec.bytes:
        found["bytes"] = _saturated(picture.bytes if picture else 0, spec.bytes.half)
    return found


def _recency(spec: Recency, value: FieldValue | None, now_ms: int) -> float:
    """A time after `now_ms` counts as now: clocks differ."""
    times = [read[1] for text in _times(value) if (read := moment(text)) is not None]
    if not times:
        return 0.0
    days = max(0, now_ms - int(max(times) * 1000)) / _DAY_MS
    return float(2.0 ** (-days / spec.half_life_days))


def _times(value: FieldValue | None) -> Sequence[str]:
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def _saturated(amount: float, half: float) -> float:
    return amount / (amount + half)
