"""A fitted decider at work: what adds up, what a missing modality says, where the thresholds lie, what batches change."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consumer.background import Background
from consumer.beliefs import Beliefs, Expectations
from consumer.comparison import Comparison
from consumer.fusion_spec import LearnedSpec
from consumer.layout import DECIMALS, Layout
from consumer.learned_fusion import LearnedFusion
from consumer.records import Match
from tests.factories import LinearDecider

LAYOUT = Layout(["name", "city", "device"], [16, 8, 4], [0.5, 0.3, 0.2])
SPEC = LearnedSpec(kind="learned", model="linear", duplicate=0.8, possible=0.3, min_evidence=0.7)
ALL = LearnedSpec(kind="learned", model="linear", duplicate=0.8, possible=1e-12, min_evidence=0)
DECIDER = LinearDecider(["name", "city", "device"], [9.0, 4.0, 1.0], [-4.0, -1.5, -0.4])
CROWDED = replace(
    DECIDER,
    crowding={"name": 0.7, "device": 0.2},
    crowding_slopes=[-1.5, 0.25],
    expectations=Expectations([0.6, 0.9], 0.2, 0.8),
)
COMPLETE = replace(CROWDED, quality_slopes=[3.0], expectations=Expectations([0.6, 0.9, None], 0.2, 0.8))
AROUND = replace(COMPLETE, background=Background(slope=0.5, usual=-3.0, most=2.0))
FUSION = LearnedFusion(LAYOUT, SPEC, DECIDER)
DECIDERS = st.sampled_from(
    [
        DECIDER,
        CROWDED,
        COMPLETE,
        AROUND,
        replace(DECIDER, quality_slopes=[-1.0], expectations=Expectations([None], 0.2, 0.8)),
    ]
)
SEEDS = st.integers(0, 2**32 - 1)


def comparison(similarities: Sequence[Sequence[float]], masks: Sequence[int], row: int = 0) -> Comparison:
    """Pairs of one row; `masks` are of what both records have, and of all that either has."""
    ids = [f"r{i}" for i in range(len(masks))]
    wide = np.asarray(similarities, np.float32).reshape(len(masks), len(LAYOUT.names))
    return Comparison(
        np.full(len(masks), row, np.int64), ids, wide, np.asarray(masks, np.int64)[:, None].repeat(2, axis=1)
    )


def stream(seed: int, rows: int) -> Comparison:
    """Pairs of many rows, one to twenty each; in both records modalities are missing here and there."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 5, 20], size=rows)
    n, m = int(sizes.sum()), len(LAYOUT.names)
    masks = np.stack([np.repeat(rng.integers(1, 2**m, size=rows), sizes), rng.integers(1, 2**m, size=n)], axis=1)
    there = ((masks[:, 0] & masks[:, 1])[:, None] >> np.arange(m)) & 1
    cosines = np.round(rng.uniform(-1, 1, size=(n, m)) * there, DECIMALS).astype(np.float32)
    numbers = np.cumsum(rng.integers(1, 3, size=rows))  # rows that found nothing have no pairs
    return Comparison(np.repeat(numbers, sizes), [f"r{i}" for i in range(n)], cosines, masks)


def judge(fusion: LearnedFusion, similarities: Sequence[Sequence[float]], masks: Sequence[int]) -> list[Match | None]:
    return fusion.judge(comparison(similarities, masks), Beliefs())


@given(SEEDS, DECIDERS)
def test_contributions_sum_to_the_logit(seed: int, decider: LinearDecider) -> None:
    pairs = stream(seed, 30)
    beliefs = Beliefs(rows=250)  # the prior moves within the stream
    judged = LearnedFusion(LAYOUT, ALL, decider).judge(pairs, beliefs, different=True)
    for match, there in zip(judged, pairs.present, strict=True):
        if match is None:
            assert not there.any()
            continue
        logit = sum(match.contributions.values())
        assert match.probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=2e-4)
        present = [name for name, is_there in zip(LAYOUT.names, there, strict=True) if is_there]
        crowding = [f"crowding {name}" for name in decider.crowding]
        quality = ["quality"] if decider.quality else []
        around = ["crowding"] if decider.background else []
        assert list(match.contributions) == ["base", "prior", *present, *crowding, *quality, *around]
        assert list(match.similarities) == present


@given(SEEDS, DECIDERS)
def test_a_missing_modality_adds_nothing_whatever_its_numbers(seed: int, decider: LinearDecider) -> None:
    pairs, fusion = stream(seed, 30), LearnedFusion(LAYOUT, ALL, decider)
    noise = np.random.default_rng(seed + 1).uniform(-1, 1, pairs.similarities.shape).astype(np.float32)
    noisy = replace(pairs, similarities=np.where(pairs.present, pairs.similarities, noise))
    one, other = Beliefs(), Beliefs()
    assert fusion.judge(noisy, one, different=True) == fusion.judge(pairs, other, different=True)
    assert one.pack() == other.pack()
    assert np.array_equal(fusion.scores(noisy), fusion.scores(pairs))


def test_absence_is_no_difference() -> None:
    without, differs = judge(FUSION, [[1, 1, 0], [1, 1, -1]], [3, 7])
    assert without is not None
    assert differs is not None
    assert without.probability > differs.probability
    assert without.similarities == {"name": 1.0, "city": 1.0}


def test_too_little_evidence_is_for_a_person() -> None:
    sure = replace(FUSION, decider=replace(DECIDER, slopes=[30.0, 30.0, 30.0]))
    name, both, name_and_device = judge(sure, [[1, 1, 1]] * 3, [1, 3, 5])
    assert name is not None
    assert (name.duplicate, name.probability) == (False, 1.0)
    assert both is not None
    assert both.duplicate
    assert name_and_device is not None
    assert name_and_device.duplicate, "exactly min_evidence is enough, whatever its last digit"
    assert sure.scores(comparison([[1, 1, 1]] * 3, [1, 3, 5])).tolist() == pytest.approx([-1, 1, 1])


@given(st.floats(0.01, 0.99), st.floats(-6, 6))
def test_thresholds_belong_to_the_stronger_side(threshold: float, beyond: float) -> None:
    """A pair is a duplicate from the threshold on, and shown from `possible` on; a tick below is less."""
    at = round(math.log(threshold / (1 - threshold)), DECIMALS)
    spec = LearnedSpec(kind="learned", model="", duplicate=threshold, possible=threshold, min_evidence=0)
    beyond = round(beyond, DECIMALS)
    expectations = replace(DECIDER.expectations, base_rate=0.5)
    constant = at + beyond - math.log(0.5)
    fusion = LearnedFusion(LAYOUT, spec, replace(DECIDER, constants=[constant, 0, 0], expectations=expectations))
    (match,) = judge(fusion, [[0, 0, 0]], [1])
    assert (match is not None and match.duplicate) == (beyond >= 0)
    if beyond < 0:
        assert match is None


@pytest.mark.parametrize(
    ("log_odds", "outcome"),
    [(5.0, True), (1.38630, True), (1.3862, False), (-0.8472, False), (-0.8474, None), (-9, None)],
)
def test_three_outcomes(log_odds: float, outcome: bool | None) -> None:
    constants = [log_odds - math.log(DECIDER.expectations.base_rate), 0.0, 0.0]
    (match,) = judge(replace(FUSION, decider=replace(DECIDER, constants=constants)), [[0, 0, 0]], [7])
    assert (match.duplicate if match else None) is outcome


def test_float_noise_below_the_last_digit_decides_nothing() -> None:
    at = math.log(0.8 / 0.2) - math.log(DECIDER.expectations.base_rate)
    for noise in (-4e-6, 0, 4e-6):
        decider = replace(DECIDER, constants=[at + noise, 0.0, 0.0])
        (match,) = judge(replace(FUSION, decider=decider), [[0, 0, 0]], [7])
        assert match is not None
        assert match.duplicate


def test_what_is_different_is_told_only_when_asked() -> None:
    pairs = comparison([[-1, -1, -1], [1, 1, 1], [0, 0, 0]], [7, 7, 0])
    none, found, nothing_shared = FUSION.judge(pairs, Beliefs())
    assert none is None
    assert nothing_shared is None
    told, same, still_nothing = FUSION.judge(pairs, Beliefs(), different=True)
    assert told is not None
    assert not told.duplicate
    assert told.probability < SPEC.possible
    assert told.contributions["name"] < 0
    assert same == found
    assert still_nothing is None


def test_nothing_in_nothing_out() -> None:
    beliefs = Beliefs()
    empty = comparison([], [])
    assert FUSION.judge(empty, beliefs) == []
    assert FUSION.scores(empty).shape == (0,)
    assert beliefs.pack() == Beliefs().pack()


@given(SEEDS)
def test_a_modality_that_the_decider_does_not_weigh_says_nothing(seed: int) -> None:
    """Whether it is there, and what it is; in any order of the profile's modalities. Nor does a record lack it."""
    usual = Expectations([0.6, None], 0.2, 0.8)
    fewer = LinearDecider(["device", "name"], [1.0, 9.0], [-0.4, -4.0], {"name": 0.7}, [-1.5], [2.0], usual)
    fusion = LearnedFusion(LAYOUT, ALL, fewer)
    pairs = stream(seed, 30)
    without = pairs.only([0, 2])
    one, other = Beliefs(), Beliefs()
    for match, alike, there in zip(
        fusion.judge(pairs, one, different=True),
        fusion.judge(without, other, different=True),
        without.present,
        strict=True,
    ):
        if not there.any():
            assert alike is None
            continue
        assert match is not None
        assert alike is not None
        assert match.probability == alike.probability
        assert match.contributions == alike.contributions
        assert {n: c for n, c in match.similarities.items() if n != "city"} == alike.similarities
        if "device" in match.similarities:
            assert match.contributions["device"] == pytest.approx(match.similarities["device"] - 0.4, abs=2e-4)
    assert one.pack() == other.pack()


@settings(max_examples=30)
@given(SEEDS, st.sets(st.integers(1, 299), max_size=12), st.integers(0, 255))
def test_batches_of_whole_rows_change_nothing(seed: int, cuts: set[int], rows_before: int) -> None:
    pairs, fusion = stream(seed, 300), LearnedFusion(LAYOUT, ALL, AROUND)
    whole, cut = Beliefs(rows=rows_before), Beliefs(rows=rows_before)
    expected = fusion.judge(pairs, whole)
    rows = np.unique(pairs.rows)
    judged: list[Match | None] = []
    for part in np.split(rows, sorted(cuts)):
        judged += fusion.judge(pairs.take(np.isin(pairs.rows, part)), cut)
    assert judged == expected
    assert cut.pack() == whole.pack()
    assert whole.rows == rows_before + 300
    assume(whole.shift != 0)  # now and then the stream is just as the decider expects it
    assert len({m.contributions["prior"] for m in expected if m}) >= 2, "the prior moved within the stream"


def test_a_crowded_neighbourhood_says_less() -> None:
    alone = comparison([[0.9, 0.9, 0]], [7])
    crowd = comparison([[0.9, 0.9, 0]] * 12, [7] * 12)
    fusion = LearnedFusion(LAYOUT, ALL, CROWDED)
    (lonely,), (one, *others) = fusion.judge(alone, Beliefs()), fusion.judge(crowd, Beliefs())
    assert lonely is not None
    assert one is not None
    assert one.contributions["crowding name"] < lonely.contributions["crowding name"]
    assert one.probability < lonely.probability
    assert {m.probability for m in others if m} == {one.probability}


@pytest.mark.parametrize(
    ("candidates", "apart", "added"),
    [
        (15, -1.0, 0.0),  # too few to tell
        (16, -1.0, 0.0),  # as they should be
        (16, -0.2, -0.5),
        (16, 0.9, -1.0),  # all of them the same: no more is taken than for 2
    ],
)
def test_where_the_farthest_are_alike_more_is_asked_of_a_pair(candidates: int, apart: float, added: float) -> None:
    """The log-odds of a candidate are ten times its cosine, and -3 is usual."""
    even, around = Expectations([], 0.5, 0.0), Background(slope=0.5, usual=-3.0, most=2.0)
    decider = LinearDecider(["name"], [10.0], [math.log(2)], expectations=even, background=around)
    cosines = [[0.95, 0, 0]] * (candidates - 4) + [[apart, 0, 0]] * 4
    judged = LearnedFusion(LAYOUT, ALL, decider).judge(comparison(cosines, [1] * candidates), Beliefs(), different=True)
    for match, (cosine, *_) in zip(judged, cosines, strict=True):
        assert match is not None
        assert match.contributions["crowding"] == pytest.approx(added, abs=1e-4)
        assert sum(match.contributions.values()) == pytest.approx(10 * cosine + added, abs=1e-3)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))
def test_quality_is_how_complete_the_better_record_is(row: int, other: int, third: int) -> None:
    """Beside what is usual, and whichever of the two it is. Other pairs of the row change nothing."""
    usual = Expectations([None], 0.2, 0.0)
    fusion = LearnedFusion(LAYOUT, ALL, replace(DECIDER, quality_slopes=[3.0], expectations=usual))
    nothing = np.zeros((2, 3), np.float32)
    pairs = Comparison(np.zeros(2, np.int64), ["a", "b"], nothing, np.array([[row, other], [row, third]]))
    swapped = Comparison(np.zeros(1, np.int64), ["a"], nothing[:1], np.array([[other, row]]))

    def quality(match: Match | None) -> float | None:
        return None if match is None else match.contributions["quality"]

    shares = [mask.bit_count() / 3 for mask in (row, other)]
    first, back = (quality(fusion.judge(p, Beliefs(), different=True)[0]) for p in (pairs, swapped))
    if row & other:
        assert first == pytest.approx(3 * (max(shares) - shares[0]), abs=1e-4)
        assert back == pytest.approx(3 * (max(shares) - shares[1]), abs=1e-4)
    else:
        assert first is None
        assert back is None


def test_records_as_complete_as_is_usual_say_nothing_by_it() -> None:
    """Whatever is usual: a scope in which nobody gives a city is not worse for it."""
    for mask in (1, 3, 7):
        n = 100
        masks = np.full((n, 2), mask)
        pairs = Comparison(np.arange(n), ["x"] * n, np.ones((n, 3), np.float32), masks)
        judged = LearnedFusion(LAYOUT, ALL, COMPLETE).judge(pairs, Beliefs(), different=True)
        assert {match and match.contributions["quality"] for match in judged} == {0.0}


def test_scores_are_the_probabilities_of_a_fresh_stream() -> None:
    pairs, fusion = stream(7, 300), LearnedFusion(LAYOUT, ALL, COMPLETE)
    judged = fusion.judge(pairs, Beliefs(), different=True)
    for score, match in zip(fusion.scores(pairs), judged, strict=True):
        assert score == -1 if match is None else score == pytest.approx(match.probability, abs=6e-5)


def test_beliefs_of_another_decider_are_dropped() -> None:
    """An operator chose another fusion: its terms are others, and what was counted meant something else."""
    beliefs, fresh = Beliefs(), Beliefs()
    LearnedFusion(LAYOUT, ALL, CROWDED).judge(stream(8, 300), beliefs)
    one_term = replace(CROWDED, crowding={"name": 0.7}, crowding_slopes=[-1.0], fingerprint="another")
    pairs, fusion = stream(9, 20), LearnedFusion(LAYOUT, ALL, one_term)
    assert fusion.judge(pairs, beliefs) == fusion.judge(pairs, fresh)
    assert beliefs.rows == 320


def test_the_fingerprint_tells_thresholds_and_deciders_apart() -> None:
    others = [replace(FUSION, spec=ALL), replace(FUSION, decider=replace(DECIDER, fingerprint="other"))]
    assert len({FUSION.fingerprint, *(other.fingerprint for other in others)}) == 3
