"""When a person logs in, as a vector: hour of day, day of week, and the gaps between logins.

Everybody sleeps at night, so raw histograms of two strangers agree at about .7. Each part is therefore taken as its
difference from a population baseline: strangers are about 0, and what remains is habit. It stays a weak signal (two
weeks of one person's logins against the next two rank right about seven times in ten); a profile gives it a small
weight.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, pairwise

import numpy as np

from consumer.errors import SettingsError
from consumer.records import Bools, Doubles, Embeddings, FieldValue, Floats, Integers
from consumer.times import moment

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

_DAY_MINUTES = 24 * 60
_ANGLES = np.outer(
    np.arange(1, _HARMONICS + 1), np.array([m // 60 + m % 60 / 60 for m in range(_DAY_MINUTES)]) * (2 * np.pi / 24)
)
_WAVES = np.concatenate([np.cos(_ANGLES), np.sin(_ANGLES)])
"""Harmonics of every minute of a day, float64 [8, 1440]."""
# Higher harmonics are finer than habit is: they fade as a Gaussian of an hour and a half would make them.
_FADE = np.tile(np.exp(-0.5 * (np.arange(1, _HARMONICS + 1) * (2 * np.pi / 24) * 1.5) ** 2), 2)
_GRID = np.arange(len(_GAP_EDGES), dtype=np.float64)


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
        """float32 [n, 64]; about 10 microseconds a row."""
        vectors = np.zeros((len(rows), _DIM), np.float32)
        histories, present = self._histories(rows)
        if histories:
            counts, habits, chances = _parts(histories)
            several = counts > 1
            habits[:, HOUR] -= _BASE_HOUR
            habits[:, WEEK] -= _BASE_WEEKDAY
            habits[several, GAP] -= _BASE_GAP
            trust = _trust(counts)[:, None]
            vectors[present] = np.concatenate([np.sqrt(trust) * _unit(habits), np.sqrt(1 - trust) * chances], axis=1)
        return Embeddings(vectors, present)

    def features(self, rows: Sequence[Mapping[str, FieldValue]]) -> tuple[Floats, Bools]:
        """What a vector is made of, float32 [n, 65], zero for a row without a timestamp; and which rows have one.

        Columns: the habit, 23, with no baseline taken off (8 of the hour, 7 weekdays, 8 of gaps, zero without a gap);
        the trust in it, above 0 and below 1; the unit vector drawn from the times, 41.
        """
        found = np.zeros((len(rows), FEATURES), np.float32)
        histories, present = self._histories(rows)
        if histories:
            counts, habits, chances = _parts(histories)
            found[present] = np.concatenate([habits, _trust(counts)[:, None], chances], axis=1)
        return found, present

    def _histories(self, rows: Sequence[Mapping[str, FieldValue]]) -> tuple[list[dict[float, datetime]], Bools]:
        """Those that are not empty, and which rows have one."""
        found = [_history(row.get(self._field)) for row in rows]
        return [history for history in found if history], np.array([bool(history) for history in found], np.bool_)


def times_of(value: FieldValue | None) -> list[datetime]:
    """The distinct times, oldest first. What is not a time was rejected by decoding and is skipped here."""
    return list(_history(value).values())


def _history(value: FieldValue | None) -> dict[float, datetime]:
    """The distinct times by their seconds, oldest first."""
    if value is None or isinstance(value, str | bytes | float | int):
        return {}
    times: dict[float, datetime] = {}
    for text in value:
        if (read := moment(text)) is not None:
            times.setdefault(read[1], read[0])
    return {seconds: times[seconds] for seconds in sorted(times)[-_MAX_LOGINS:]}


def _parts(histories: Sequence[Mapping[float, datetime]]) -> tuple[Integers, Doubles, Doubles]:
    """Of m histories with a time or more: how many times [m]; hours, weekdays and gaps [m, 23]; what is drawn [m, 41].

    Before any baseline. All histories at once, and yet a row never depends on the others.
    """
    counts = np.array([len(history) for history in histories])
    starts = np.concatenate([[0], np.cumsum(counts)])
    owners = np.repeat(np.arange(len(histories)), counts)
    seconds = np.fromiter(chain.from_iterable(histories), np.float64, len(owners))
    times = [time for history in histories for time in history.values()]
    minutes = np.array([60 * time.hour + time.minute for time in times])
    weekdays = owners * _WEEKDAYS + np.array([time.weekday() for time in times])
    share = np.bincount(weekdays, minlength=len(histories) * _WEEKDAYS).reshape(-1, _WEEKDAYS) / counts[:, None]
    habits = np.concatenate([_hour_of_day(minutes, starts, counts), share, _gaps(seconds, owners, counts)], axis=1)
    return counts, habits, _chance(seconds, starts.tolist())


def _trust(logins: Integers) -> Doubles:
    return np.asarray(logins / (logins + _SHRINK), np.float64)


def _hour_of_day(minutes: Integers, starts: Integers, counts: Integers) -> Doubles:
    """First harmonics of the hour histograms, which is the same as smoothing them around the clock: [m, 8]."""
    waves = np.empty((len(counts), 2 * _HARMONICS))
    for count in np.unique(counts):
        # Rows of one length together, for the order of a sum depends on its length.
        alike = np.flatnonzero(counts == count)
        at = minutes[starts[alike][:, None] + np.arange(count)]
        waves[alike] = _WAVES[:, at].mean(axis=2).T
    faded: Doubles = waves * _FADE
    return faded


def _gaps(seconds: Doubles, owners: Integers, counts: Integers) -> Doubles:
    """Share of the gaps per triangular bin of their logarithm, [m, 8]; zero without a gap."""
    inside = np.diff(owners) == 0
    logs = np.log10(np.maximum(np.diff(seconds)[inside], 1.0))
    at = np.interp(logs, _GAP_EDGES, _GRID)
    heights = np.clip(1 - np.abs(at[:, None] - _GRID), 0, None)
    cells = owners[1:][inside][:, None] * len(_GRID) + np.arange(len(_GRID))
    # bincount adds in the order of its input, so a row's sum is the same whatever rows surround it.
    sums = np.bincount(cells.ravel(), heights.ravel(), minlength=len(counts) * len(_GRID))
    return np.asarray(sums.reshape(-1, len(_GRID)) / np.maximum(counts - 1, 1)[:, None], np.float64)


def _chance(seconds: Doubles, starts: Sequence[int]) -> Doubles:
    """Unit vectors, [m, 41], that equal lists of times share and others do not."""

    def digests() -> Iterator[bytes]:
        content = seconds.astype("<f8").tobytes()
        for start, end in pairwise(starts):
            yield hashlib.blake2b(content[8 * start : 8 * end], digest_size=_CHANCE).digest()

    drawn = np.frombuffer(b"".join(digests()), dtype=np.uint8).reshape(-1, _CHANCE)
    return _unit(drawn.astype(np.float64) - 127.5)


def _unit(rows: Doubles) -> Doubles:
    norms = np.sqrt(np.vecdot(rows, rows))[:, None]
    unit: Doubles = np.divide(rows, norms, out=rows, where=norms > 1e-9)
    return unit
