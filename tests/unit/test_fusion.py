"""The arithmetic of scores: fused products, similarities taken apart again, decisions and what they say of themselves."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.beliefs import Beliefs
from consumer.comparison import Comparison
from consumer.fusion import WeightedFusion
from consumer.fusion_spec import CrowdingSpec, WeightedSpec
from consumer.layout import DECIMALS, Layout
from consumer.records import Bools, Floats, Integers, Match

LAYOUT = Layout(["name", "city", "device"], [16, 8, 4], [0.5, 0.3, 0.2])
SPEC = WeightedSpec(duplicate=0.8, possible=0.6, slope=20, min_evidence=0.7)
FUSION = WeightedFusion(LAYOUT, SPEC)
HALF = 2e-3  # what float16 costs a cosine
SEEDS = st.integers(0, 2**32 - 1)


def blocks(n: int, seed: int, present_share: float = 1.0) -> tuple[list[Floats], list[Bools]]:
    """Unit rows per modality, zero where absent."""
    random = np.random.default_rng(seed)
    made, present = [], []
    for dim in LAYOUT.dims:
        rows = random.standard_normal((n, dim))
        there = random.random(n) < present_share
        rows *= (there / np.linalg.norm(rows, axis=1))[:, None]
        made.append(rows.astype(np.float32))
        present.append(there)
    return made, present


def judge(
    similarities: Sequence[Sequence[float]], masks: Sequence[int], fusion: WeightedFusion = FUSION
) -> list[object]:
    ids = [f"r{i}" for i in range(len(masks))]
    return list(decide(fusion, ids, np.asarray(similarities, np.float32), np.asarray(masks, np.int64)))


def decide(fusion: WeightedFusion, ids: Sequence[str], similarities: Floats, shared: Integers) -> list[Match | None]:
    """Judge the pairs of one row."""
    wide = similarities.reshape(len(ids), len(fusion.layout.names))
    return fusion.judge(
        Comparison(np.zeros(len(ids), np.int64), ids, wide, np.stack([shared, shared], axis=1)), Beliefs()
    )


def test_blocks_lie_one_after_the_other() -> None:
    assert LAYOUT.dim == 28
    assert LAYOUT.blocks == [slice(0, 16), slice(16, 24), slice(24, 28)]


@given(SEEDS, st.integers(1, 20))
def test_a_fused_product_is_the_weighted_sum_of_cosines(seed: int, n: int) -> None:
    made, present = blocks(n, seed, 0.7)
    values, masks = LAYOUT.fuse(made, present)
    assert values.dtype == np.float16
    assert values.shape == (n, LAYOUT.dim)
    fused = values.astype(np.float32) @ values.astype(np.float32).T
    wanted = sum(w * (b @ b.T) for w, b in zip(LAYOUT.weights, made, strict=True))
    assert np.allclose(fused, wanted, atol=HALF)
    assert masks == [sum(int(p[row]) << i for i, p in enumerate(present)) for row in range(n)]


@given(SEEDS, st.integers(1, 20))
def test_the_cosine_of_each_modality_is_recovered(seed: int, n: int) -> None:
    made, present = blocks(2 * n, seed, 0.7)
    values = LAYOUT.fuse(made, present)[0].astype(np.float32)
    found = LAYOUT.cosines(values[:n], values[n:])
    wanted = np.stack([(b[:n] * b[n:]).sum(axis=1) for b in made], axis=1)
    assert np.allclose(found, wanted, atol=HALF)
    assert not found[~(np.stack(present, axis=1)[:n] & np.stack(present, axis=1)[n:])].any()


@given(SEEDS, st.integers(1, 40))
def test_a_row_is_the_same_in_any_batch(seed: int, n: int) -> None:
    made, present = blocks(2 * n, seed, 0.7)
    values, masks = LAYOUT.fuse(made, present)
    rows, shared = values.astype(np.float32), np.asarray(masks[:n]) & np.asarray(masks[n:])
    loose = WeightedFusion(LAYOUT, WeightedSpec(duplicate=0.2, possible=0.01, slope=20, min_evidence=0.5))
    ids = [f"r{i}" for i in range(n)]
    together = LAYOUT.cosines(rows[:n], rows[n:])
    judged = decide(loose, ids, together, shared)
    for i in range(n):
        single = LAYOUT.cosines(rows[i : i + 1], rows[n + i : n + i + 1])
        assert np.array_equal(single[0], together[i])
        assert decide(loose, ids[i : i + 1], single, shared[i : i + 1]) == [judged[i]]
        alone, mask = LAYOUT.fuse([b[i : i + 1] for b in made], [p[i : i + 1] for p in present])
        assert np.array_equal(alone[0], values[i])
        assert mask == [masks[i]]


@given(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), st.integers(1, 7), st.floats(0.5, 60))
def test_contributions_sum_to_the_logit(cosines: list[float], mask: int, slope: float) -> None:
    spec = WeightedSpec(duplicate=0.5, possible=1e-6, slope=slope, min_evidence=0)
    (match,) = decide(WeightedFusion(LAYOUT, spec), ["x"], np.asarray([cosines], np.float32), np.asarray([mask]))
    if match is None:
        return
    logit = sum(match.contributions.values())
    assert match.probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=2e-3)
    there = [name for i, name in enumerate(LAYOUT.names) if mask >> i & 1]
    assert list(match.contributions) == list(match.similarities) == there


def test_a_missing_modality_is_no_evidence_and_not_a_difference() -> None:
    both, without = decide(
        FUSION, ["a", "b"], np.asarray([[0.9, 0.9, 0.0], [0.9, 0.9, 0.0]], np.float32), np.asarray([7, 3])
    )
    assert both is not None
    assert not both.duplicate, "a device that differs counts against"
    assert both.similarities["device"] == 0
    assert without is not None
    assert without.duplicate
    assert without.similarities == {"name": 0.9, "city": 0.9}
    assert without.probability == pytest.approx(1 / (1 + math.exp(-20 * 0.1)), abs=1e-4)


def test_too_little_evidence_is_for_a_person() -> None:
    name_only, name_and_city, name_and_device = decide(
        FUSION, ["a", "b", "c"], np.ones((3, 3), np.float32), np.asarray([1, 3, 5])
    )
    assert name_only is not None
    assert not name_only.duplicate, "half of the weight is below min_evidence"
    assert name_and_city is not None
    assert name_and_city.duplicate
    assert name_and_device is not None
    assert name_and_device.duplicate, "exactly min_evidence is enough, whatever its last digit"


def test_nothing_shared_is_no_match() -> None:
    zero = WeightedFusion(LAYOUT, WeightedSpec(duplicate=0.8, possible=1e-9, slope=20, min_evidence=0))
    assert judge([[1, 1, 1]], [0], zero) == [None]
    assert judge([], []) == []


@pytest.mark.parametrize(
    ("score", "outcome"),
    [(1.0, True), (0.8, True), (0.79999, False), (0.6, False), (0.59999, None), (0.0, None), (-1.0, None)],
)
def test_thresholds_belong_to_the_stronger_side(score: float, outcome: bool | None) -> None:
    (match,) = decide(FUSION, ["x"], np.full((1, 3), score, np.float32), np.asarray([7]))
    assert (match.duplicate if match else None) is outcome


def test_the_probability_is_one_half_at_the_threshold() -> None:
    (match,) = decide(FUSION, ["x"], np.full((1, 3), SPEC.duplicate, np.float32), np.asarray([7]))
    assert match is not None
    assert match.probability == 0.5


def test_a_slope_beyond_what_exp_can_hold_is_certainty() -> None:
    steep = WeightedFusion(LAYOUT, WeightedSpec(duplicate=1, possible=0.1, slope=5_000, min_evidence=0))
    low, high = decide(steep, ["a", "b"], np.asarray([[0.5] * 3, [1.0] * 3], np.float32), np.asarray([7, 7]))
    assert low is not None
    assert high is not None
    assert (low.probability, high.probability) == (0.0, 0.5)


def test_float_noise_below_the_last_digit_decides_nothing() -> None:
    noise = 0.4 * 10**-DECIMALS
    rows = np.asarray([[0.8 - noise] * 3, [0.8] * 3, [0.8 + noise] * 3], np.float32)
    assert [m is not None and m.duplicate for m in decide(FUSION, list("abc"), rows, np.asarray([7] * 3))] == [True] * 3


def test_what_is_one_sided_counts_where_it_is_alike_and_adds_nothing_where_it_differs() -> None:
    one_sided = WeightedFusion(LAYOUT, SPEC.model_copy(update={"one_sided": {"device": 0.75}}))
    for cosine, counts in ((-0.2, False), (0.74, False), (0.75, True), (1.0, True)):
        (without,) = judge([[0.85, 0.85, 0.0]], [3])
        (match,) = judge([[0.85, 0.85, cosine]], [7], one_sided)
        (two_sided,) = judge([[0.85, 0.85, cosine]], [7])
        assert isinstance(match, Match)
        assert isinstance(without, Match)
        assert match.similarities["device"] == pytest.approx(cosine, abs=1e-4)
        if counts:
            assert match == two_sided
        else:
            assert match.contributions == {**without.contributions, "device": 0.0}
            assert (match.probability, match.duplicate) == (without.probability, without.duplicate)


def test_what_is_one_sided_and_differs_is_no_evidence() -> None:
    one_sided = WeightedFusion(LAYOUT, SPEC.model_copy(update={"one_sided": {"device": 0.75}, "min_evidence": 0.0}))
    alone = np.asarray([[0.0, 0.0, 0.7], [0.0, 0.0, 0.9]], np.float32)
    differs, same = decide(one_sided, ["a", "b"], alone, np.asarray([4, 4]))
    assert differs is None
    assert same is not None
    assert same.duplicate


CROWDED = WeightedFusion(LAYOUT, SPEC.model_copy(update={"crowding": CrowdingSpec(usual=0.25, most=0.18)}))
CANDIDATES = 20


def rows_of(nearest: Sequence[float], others: Sequence[float]) -> Comparison:
    """One row after the other: a nearest candidate, and 19 others that are all equally near."""
    cosines = np.repeat([[near, *[far] * (CANDIDATES - 1)] for near, far in zip(nearest, others, strict=True)], 3)
    rows = np.repeat(np.arange(len(nearest)), CANDIDATES)
    ids = [f"{row}-{n}" for row in range(len(nearest)) for n in range(CANDIDATES)]
    return Comparison(rows, ids, cosines.reshape(-1, 3).astype(np.float32), np.full((len(rows), 2), 7))


def nearest_of(matches: Sequence[Match | None]) -> list[Match | None]:
    return list(matches[::CANDIDATES])


def test_what_is_usual_leaves_a_score_as_it_stands() -> None:
    pairs = rows_of([0.8] * 3, [0.25] * 3)
    plain, crowded = nearest_of(FUSION.judge(pairs, Beliefs())), nearest_of(CROWDED.judge(pairs, Beliefs()))
    assert [(m.duplicate, m.probability) for m in plain if m] == [(m.duplicate, m.probability) for m in crowded if m]
    assert all(m.contributions["crowding"] == 0 for m in crowded if m)


def test_among_many_that_are_alike_more_is_asked_of_a_pair_and_among_few_less() -> None:
    crowd, few = nearest_of(CROWDED.judge(rows_of([0.85, 0.75], [0.6, 0.05]), Beliefs()))
    assert crowd is not None
    assert not crowd.duplicate
    assert few is not None
    assert few.duplicate
    for match in (crowd, few):
        logit = sum(match.contributions.values())
        assert match.probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=2e-3)


def test_copies_are_duplicates_however_many_there_are() -> None:
    assert all(match and match.duplicate for match in CROWDED.judge(rows_of([1.0], [1.0]), Beliefs()))


def test_a_scope_in_which_all_are_alike_asks_more_of_everyone() -> None:
    beliefs = Beliefs()
    assert nearest_of(CROWDED.judge(rows_of([0.85], [0.25]), beliefs))[0] is not None
    CROWDED.judge(rows_of([0.7] * 400, [0.65] * 400), beliefs)
    nearest = nearest_of(CROWDED.judge(rows_of([0.85], [0.25]), beliefs.copy()))[0]
    assert nearest is not None
    assert not nearest.duplicate


@given(SEEDS, st.integers(1, 39))
def test_crowding_is_the_same_in_any_batch(seed: int, cut: int) -> None:
    random = np.random.default_rng(seed)
    pairs = rows_of(random.uniform(0.5, 1, 40).tolist(), random.uniform(0, 0.6, 40).tolist())
    first = pairs.rows < cut
    whole, parts = Beliefs(), Beliefs()
    together = CROWDED.judge(pairs, whole)
    assert together == [*CROWDED.judge(pairs.take(first), parts), *CROWDED.judge(pairs.take(~first), parts)]
    assert whole.pack() == parts.pack()


def test_few_candidates_say_nothing_of_a_crowd() -> None:
    beside = np.asarray([[0.85] * 3] * 5, np.float32)
    found = decide(CROWDED, list("abcde"), beside, np.full(5, 7))
    assert all(match and match.duplicate for match in found)


def test_what_is_kept_apart_means_the_same_in_any_crowd() -> None:
    crowding = CrowdingSpec(usual=0.25, most=0.18, apart={"device": 0.05})
    fusion = WeightedFusion(LAYOUT, SPEC.model_copy(update={"crowding": crowding, "min_evidence": 0}))
    for others in (0.0, 0.6):
        pairs = rows_of([0.84, 0.86], [others] * 2).only([2])
        below, above = nearest_of(fusion.judge(pairs, Beliefs()))
        assert below is not None
        assert not below.duplicate
        assert above is not None
        assert above.duplicate
        assert above.contributions["crowding"] == pytest.approx(-20 * 0.05)
