"""What a scope's own stream has shown so far: how crowded its neighbourhoods are, how complete, how common duplicates.

A threshold that is right where every second record has a duplicate is wrong where one in twenty has, and a name that has
ten neighbours says less than one that has none, unless ten are usual. All is estimated as the stream goes, in the
order of its rows, so that batches do not matter; the numbers live beside the assignments and are written with them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgpack
import numpy as np

from consumer.records import Doubles
from consumer.whitening import Whitening

_BINS = np.linspace(-12, 12, 97)
"""Log-odds of candidate pairs are counted to the quarter."""
_ROW_DECAY = 0.9995
"""A row counts half after 1,400 more."""
_STEP_ROWS = 64
_STEP_DECAY = 0.995
"""The pairs of 64 rows count half after 9,000 more rows."""
_USUAL_STRENGTH = 50
"""Rows that what was usual in training counts for at the start."""
_PRIOR_STRENGTH = 500
"""Pairs that the base rate of training counts for: those of 25 records."""
_MOST = 4.0
"""A prior is not believed to be farther from that of training, in log-odds: scores that look like nothing seen in
training would drive it to no duplicates at all, or to nothing else."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What training saw, from which beliefs start."""

    usual: Sequence[float | None]
    """Per term, the mean over records, such as of the logarithm of one more than the near candidates. None where each scope
    has its own, and training has no say: how complete records are."""
    base_rate: float
    """Share of matches among candidate pairs."""
    damping: float
    """Share of the estimated change of the prior that is believed; 0 keeps the prior of training."""


@dataclass(slots=True)
class Beliefs:
    """Running estimates of one scope. To judge is to change them; a copy first keeps what a failed write needs."""

    decider: str = ""
    """Fingerprint of the one whose log-odds were counted."""
    rows: int = 0
    sums: list[float] = field(default_factory=list)
    """Decayed, per term."""
    weights: list[float] = field(default_factory=list)
    """Decayed number of rows that each sum is of."""
    pairs: Doubles = field(default_factory=lambda: np.zeros(len(_BINS)))
    """Decayed counts of candidate pairs by their log-odds before the prior."""
    shift: float = 0.0
    """Log-odds to add to those of training: the prior of this scope."""
    whitening: Whitening = field(default_factory=Whitening)
    """Packed by itself, for it changes rarely and is larger."""

    def copy(self) -> "Beliefs":
        return replace(self, sums=list(self.sums), weights=list(self.weights), pairs=self.pairs.copy())

    def belong(self, decider: str) -> None:
        """Start afresh where another decider was at work: its terms and its log-odds mean something else."""
        if decider != self.decider:
            fresh = Beliefs()
            self.decider, self.sums, self.weights = decider, fresh.sums, fresh.weights
            self.pairs, self.shift = fresh.pairs, fresh.shift

    def usual(self, seen: Doubles, expected: Expectations) -> Doubles:
        """The mean of each term when each of n rows comes, which counts in it, float64 [n, terms]; `seen` is alike."""
        if not self.sums:
            self.sums = [0.0 if mean is None else mean * _USUAL_STRENGTH for mean in expected.usual]
            self.weights = [0.0 if mean is None else float(_USUAL_STRENGTH) for mean in expected.usual]
        means = np.zeros_like(seen)
        for term, values in enumerate(seen.T.tolist()):
            total, weight = self.sums[term], self.weights[term]
            for row, value in enumerate(values):
                total = total * _ROW_DECAY + value
                weight = weight * _ROW_DECAY + 1
                means[row, term] = total / weight
            self.sums[term], self.weights[term] = total, weight
        return means

    def shifts(self, log_odds: Sequence[Doubles], expected: Expectations) -> Doubles:
        """The prior's part in the log-odds of each row, float64 [n], given those of its pairs without it; all count."""
        shifts = np.zeros(len(log_odds))
        start = 0
        while start < len(shifts):
            stop = min(len(shifts), start + _STEP_ROWS - self.rows % _STEP_ROWS)
            shifts[start:stop] = self.shift
            values = np.concatenate(log_odds[start:stop])
            bins = np.clip(np.rint((values - _BINS[0]) * 4), 0, len(_BINS) - 1).astype(np.int64)
            np.add.at(self.pairs, bins, 1.0)  # one by one: a sum of floats depends on its order
            self.rows += stop - start
            start = stop
            if self.rows % _STEP_ROWS == 0:
                self.shift = self._estimate(expected)
                self.pairs *= _STEP_DECAY
        return shifts

    def _estimate(self, expected: Expectations) -> float:
        """Expectation maximisation over the counted pairs (Saerens, Latinne & Decaestecker 2002), damped."""
        base, total = _logit(expected.base_rate), float(self.pairs.sum()) + _PRIOR_STRENGTH
        shift = 0.0
        for _ in range(100):
            matches = float(self.pairs @ (1 / (1 + np.exp(-(_BINS + shift))))) + _PRIOR_STRENGTH * expected.base_rate
            better = _logit(matches / total) - base
            if abs(better - shift) < 1e-4:
                break
            shift = better
        return round(expected.damping * min(max(shift, -_MOST), _MOST), 5)

    def pack(self) -> bytes:
        """For a store."""
        pairs = self.pairs.astype("<f8").tobytes()
        return bytes(msgpack.packb([self.decider, self.rows, self.sums, self.weights, pairs, self.shift]))

    @classmethod
    def unpack(cls, packed: bytes, whitening: Whitening | None = None) -> "Beliefs":
        decider, rows, sums, weights, pairs, shift = msgpack.unpackb(packed)
        return cls(
            decider,
            rows,
            list(sums),
            list(weights),
            np.frombuffer(pairs, "<f8").copy(),
            shift,
            whitening or Whitening(),
        )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
