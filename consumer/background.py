"""How alike a record's farthest candidates are to it, who are rarely its duplicates.

Where they are alike, more is asked of a pair.
"""

from dataclasses import dataclass, replace

import numpy as np

from consumer.records import Bools, Doubles, Integers
from consumer.terms import whole_rows

_ENOUGH = 16
"""Candidates: the farthest quarter of fewer may be the nearest as well."""


@dataclass(frozen=True, slots=True)
class Background:
    """How a pair's log-odds follow those of its record's farthest candidates, who are rarely its duplicates."""

    slope: float
    """Log-odds taken for each that they have more than usual."""
    usual: float
    """Their mean in training."""
    most: float
    """So much more than usual and no more is taken: copies may be many, and are duplicates all the same."""

    def calibrated(self, factor: float, offset: float) -> "Background":
        """The same, of log-odds that are stretched and moved."""
        return replace(self, usual=self.usual * factor + offset, most=self.most * factor)

    def adds(self, rows: Integers, log_odds: Doubles) -> Doubles:
        """To each of n pairs, float64 [n], given the row and the log-odds of each."""
        places, own = of_farthest(rows, log_odds, np.ones(len(rows), bool))
        more = np.where(np.isnan(own), 0.0, np.clip(own - self.usual, 0.0, self.most))
        return np.asarray((0.0 - self.slope * more)[places], np.float64)  # nothing is 0, not -0


def of_farthest(rows: Integers, scores: Doubles, counts: Bools) -> tuple[Integers, Doubles]:
    """How alike a record's farthest candidates are to it, who are rarely its duplicates.

    Of n pairs, those of a row after each other: the row of each, its score and whether it counts. Returns the place of each
    pair's row among rows, int64 [n], and the mean score of the farthest quarter of each row's candidates, float64 [rows];
    NaN where there are too few to tell.
    """
    starts, places = whole_rows(rows)
    counted, scores = places[counts], scores[counts]
    candidates = np.bincount(counted, minlength=len(starts))
    ranks = np.arange(len(counted)) - (np.cumsum(candidates) - candidates)[counted]
    ascending = scores[np.lexsort((scores, counted))]
    farthest = np.where(ranks < candidates[counted] // 4, ascending, 0.0)
    sums = np.bincount(counted, farthest, minlength=len(starts))
    return places, np.where(candidates >= _ENOUGH, sums / np.maximum(candidates // 4, 1), np.nan)
