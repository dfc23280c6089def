"""How good a record is, 0 to 1: the weighted mean of the signals that its profile names.

Every signal is 0 to 1 on a fixed scale, so that the quality of a record never depends on other records; one whose field is
missing is 0. Amounts saturate: `half` is the amount that is worth one half, twice as much is worth two thirds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, model_validator

from consumer.records import Picture, Record
from consumer.strict import Strict
from consumer.times import moment

_DAY_MS = 24 * 3600 * 1000
_Positive = Annotated[float, Field(gt=0)]


class _Signal(Strict, ABC):
    weight: _Positive = 1.0
    """Share of the quality; only the ratios between signals matter."""

    @abstractmethod
    def of(self, record: Record, picture: Picture | None) -> float:
        """0 to 1. `picture` is the one that was read, None where none was."""


class Completeness(_Signal):
    """How much of what could be there is there."""

    fields: Annotated[Mapping[str, _Positive], Field(min_length=1)]
    """Field → share."""

    @cached_property
    def _whole(self) -> float:
        return sum(self.fields.values())

    def of(self, record: Record, picture: Picture | None) -> float:
        del picture
        there = record.fields
        return sum([share for name, share in self.fields.items() if name in there]) / self._whole


class Recency(_Signal):
    """How new the latest of some times was when the record came, such as the last login: 1 now, one half after a half-life.

    It is of the day the record came. One that never comes again keeps it. A time after that counts as now: clocks differ.
    """

    field: str
    half_life_days: _Positive

    def of(self, record: Record, picture: Picture | None) -> float:
        del picture
        times = [read[1] for read in map(moment, _times(record, self.field)) if read is not None]
        if not times:
            return 0.0
        days = max(0, record.ingested_ms - int(max(times) * 1000)) / _DAY_MS
        return float(2.0 ** (-days / self.half_life_days))


class Count(_Signal):
    """How many different times there are, such as logins."""

    field: str
    half: _Positive

    def of(self, record: Record, picture: Picture | None) -> float:
        del picture
        return _saturated(len(set(_times(record, self.field))), self.half)


class Length(_Signal):
    """How many characters a text has."""

    field: str
    half: _Positive

    def of(self, record: Record, picture: Picture | None) -> float:
        del picture
        text = record.fields.get(self.field)
        return _saturated(len(text) if isinstance(text, str) else 0, self.half)


class Pixels(_Signal):
    """How many pixels the picture has that the image modality read."""

    half: _Positive

    def of(self, record: Record, picture: Picture | None) -> float:
        del record
        return _saturated(picture.width * picture.height if picture else 0, self.half)


class Bytes(_Signal):
    """How many bytes the file of that picture has."""

    half: _Positive

    def of(self, record: Record, picture: Picture | None) -> float:
        del record
        return _saturated(picture.bytes if picture else 0, self.half)


class QualitySpec(Strict):
    """The signals of a profile. Without any, every record has quality 1."""

    completeness: Completeness | None = None
    recency: Recency | None = None
    count: Count | None = None
    length: Length | None = None
    pixels: Pixels | None = None
    bytes: Bytes | None = None

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
    def _weighted(self) -> Sequence[tuple[float, _Signal]]:
        return [(signal.weight, signal) for signal in self.signals.values()]

    @cached_property
    def _whole(self) -> float:
        return sum([weight for weight, _ in self._weighted])

    def of(self, record: Record, picture: Picture | None) -> float:
        """The weighted mean of the signals, to four decimals. `picture` is the one that was read, None where none was."""
        weighted = self._weighted
        if not weighted:
            return 1.0
        return round(sum([weight * signal.of(record, picture) for weight, signal in weighted]) / self._whole, 4)

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


def _times(record: Record, field: str) -> Sequence[str]:
    value = record.fields.get(field)
    return value if isinstance(value, list | tuple) else ()


def _saturated(amount: float, half: float) -> float:
    return amount / (amount + half)
