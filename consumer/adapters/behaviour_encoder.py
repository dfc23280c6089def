"""When a person logs in, as a vector: hour of day, day of week, and the gaps between logins.

Everybody sleeps at night, so raw histograms of two strangers agree at about .7. Each part is therefore taken as its
difference from a population baseline: strangers are about 0, and what remains is habit. It stays a weak signal (two
weeks of one person's logins against the next two rank right about seven times in ten); a profile gives it a small
weight.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from consumer.errors import SettingsError
from consumer.records import Embeddings, FieldValue, Floats

Doubles = npt.NDArray[np.float64]

_REVISION = "behaviour-1"
_DIM = 64
_MAX_LOGINS = 5_000
"""The latest; older habits say less and cost as much."""

_HARMONICS = 4
_WEEKDAYS = 7
_GAP_EDGES = np.log10([60.0, 600.0, 3_600.0, 6 * 3_600.0, 86_400.0, 3 * 86_400.0, 10 * 86_400.0, 40 * 86_400.0])
"""Centres of the triangular bins of log10 seconds: a minute to forty days."""

_HABIT = 2 * _HARMONICS + _WEEKDAYS + len(_GAP_EDGES)
_CHANCE = _DIM - _HABIT
HOUR, WEEK, GAP = slice(0, 8), slice(8, 15), slice(15, 23)
HABIT = slice(0, _HABIT)
"""Columns of a habit, and of its parts."""
FEATURES = _HABIT + 1 + _CHANCE
"""Width of `BehaviourEncoder.features`: the habit, the trust in it, the part drawn from the times."""
_SHRINK = 2.0
"""Logins at which habit and chance weigh the same."""

# Means over a few hundred people on the web, rounded: a pause at night, an even day, gaps of days more than minutes.
_BASE_HOUR = np.array([0.01, 0.08, 0.0, 0.0, -0.28, -0.03, 0.01, 0.0])
"""Harmonics 1-4 of the hour: four cosines, then four sines."""
_BASE_WEEKDAY = np.full(_WEEKDAYS, 1.0 / _WEEKDAYS)
_BASE_GAP = np.array([0.03, 0.08, 0.10, 0.11, 0.15, 0.15, 0.16, 0.22])


class BehaviourEncoder:
    """Encode one field of timestamps. Implements `consumer.ports.Encoder`; a row without a timestamp is absent.

    Times are ISO 8601, in any order, with or without an offset. Hours and weekdays are those written in the record
    (its own clock), gaps are of absolute time; a time without an offset counts as UTC there. Equal times count once.

    Few logins prove little. A part of the vector, the larger the fewer logins there are, is therefore drawn from a
    digest of the times themselves: a copy of the record agrees on it, a stranger does not, and the cosine of two
    thin histories shrinks towards 0 although the rows have length 1.
    """

    def __init__(self, field: str) -> None:
        if not field:
            raise SettingsError("behaviour encoder: field is empty; name the field that holds the login times")
        self._field = field

    @property
    def dim(self) -> int:
        """Length of a vector: 64."""
        return _DIM

    @property
    def field(self) -> str:
        """The field that is read."""
        return self._field

    @property
    def revision(self) -> str:
        """Of the features: what a fitted model was fitted on."""
        return _REVISION

    @property
    def fingerprint(self) -> str:
        """Digest of the field and of the constants of this file."""
        return hashlib.blake2b(repr((_REVISION, self._field)).encode(), digest_size=16).hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, 64]; about 40 microseconds a row and one more a login."""
        vectors = np.zeros((len(rows), _DIM), dtype=np.float32)
        present = np.zeros(len(rows), dtype=np.bool_)
        for i, row in enumerate(rows):
            times = times_of(row.get(self._field))
            if times:
                vectors[i] = _vector(times)
                present[i] = True
        return Embeddings(vectors, present)

    def features(self, rows: Sequence[Mapping[str, FieldValue]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """What a vector is made of, float32 [n, 65], zero for a row without a timestamp; and which rows have one.

        Columns: the habit, 23, with no baseline taken off (8 of the hour, 7 weekdays, 8 of gaps, zero without a gap);
        the trust in it, above 0 and below 1; the unit vector drawn from the times, 41.
        """
        found = np.zeros((len(rows), FEATURES), np.float32)
        present = np.zeros(len(rows), np.bool_)
        for i, row in enumerate(rows):
            if times := times_of(row.get(self._field)):
                found[i] = habit_features(times)
                present[i] = True
        return found, present


def habit_features(times: Sequence[datetime]) -> Doubles:
    """One row of `BehaviourEncoder.features`, of at least one time, oldest first."""
    seconds = np.array([_seconds(time) for time in times])
    hours, weekdays, gaps = _parts(times, seconds)
    return np.concatenate([hours, weekdays, gaps, [_trust(len(times))], _chance(seconds)])


def times_of(value: FieldValue | None) -> list[datetime]:
    """The distinct times, oldest first. What is not a time was rejected by decoding and is skipped here."""
    if value is None or isinstance(value, str | bytes | float | int):
        return []
    times: dict[float, datetime] = {}
    for text in value:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            continue
        times.setdefault(_seconds(time), time)
    return [times[seconds] for seconds in sorted(times)[-_MAX_LOGINS:]]


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _vector(times: Sequence[datetime]) -> Doubles:
    seconds = np.array([_seconds(time) for time in times])
    hours, weekdays, gaps = _parts(times, seconds)
    parts = (hours - _BASE_HOUR, weekdays - _BASE_WEEKDAY, gaps - _BASE_GAP if len(times) > 1 else gaps)
    habit = np.concatenate(parts)
    trust = _trust(len(times))
    return np.concatenate([np.sqrt(trust) * _unit(habit), np.sqrt(1 - trust) * _chance(seconds)])


def _parts(times: Sequence[datetime], seconds: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Hour, weekday and gaps of a history, before any baseline."""
    hours = np.array([time.hour + time.minute / 60 for time in times])
    weekdays = np.bincount([time.weekday() for time in times], minlength=_WEEKDAYS) / len(times)
    return _hour_of_day(hours), weekdays, _gaps(np.diff(seconds))


def _trust(logins: int) -> float:
    return logins / (logins + _SHRINK)


def _hour_of_day(hours: Doubles) -> Doubles:
    """First harmonics of the hour histogram, which is the same as smoothing it around the clock."""
    angles = np.outer(np.arange(1, _HARMONICS + 1), hours * (2 * np.pi / 24))
    # Higher harmonics are finer than habit is: they fade as a Gaussian of an hour and a half would make them.
    fade = np.exp(-0.5 * (np.arange(1, _HARMONICS + 1) * (2 * np.pi / 24) * 1.5) ** 2)
    waves: Doubles = np.concatenate([fade * np.cos(angles).mean(axis=1), fade * np.sin(angles).mean(axis=1)])
    return waves


def _gaps(gaps: Doubles) -> Doubles:
    """Share of the gaps per triangular bin of their logarithm; zero without a gap."""
    if not len(gaps):
        return np.zeros(len(_GAP_EDGES))
    logs = np.log10(np.maximum(gaps, 1.0))
    grid = np.arange(len(_GAP_EDGES), dtype=np.float64)
    at = np.interp(logs, _GAP_EDGES, grid)
    shares: Doubles = np.clip(1 - np.abs(at[:, None] - grid), 0, None).mean(axis=0)
    return shares


def _chance(seconds: Doubles) -> Doubles:
    """A unit vector that equal lists of times share and others do not."""
    digest = hashlib.blake2b(seconds.astype("<f8").tobytes(), digest_size=_CHANCE).digest()
    return _unit(np.frombuffer(digest, dtype=np.uint8).astype(np.float64) - 127.5)


def _unit(vector: Doubles) -> Doubles:
    norm = float(np.sqrt(vector @ vector))
    return np.divide(vector, norm) if norm > 1e-9 else vector
