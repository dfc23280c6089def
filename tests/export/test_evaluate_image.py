"""Recall at a precision against a brute-force count; attacks that follow their seed; the whole evaluation on drawn photos."""

import importlib
import importlib.util
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export import photos, transforms
from export.evaluate import recall

MISSING = [name for name in ("imagehash",) if importlib.util.find_spec(name) is None]
needs_hashes = pytest.mark.skipif(bool(MISSING), reason="the extra `export` is not installed: no imagehash")

scores = st.lists(st.integers(0, 12).map(lambda value: value / 12), min_size=1, max_size=30)


def drawn(count: int, seed: int) -> list[Image.Image]:
    chance, made = Random(seed), [Image.new("RGB", (8, 8), "grey")]
    for _ in range(count):
        made.append(photos.drawn(chance, made[-8:], 96))
    return made[1:]


@given(positives=scores, negatives=scores, precision=st.sampled_from([0.5, 0.8, 0.9, 0.99, 1.0]))
def test_the_threshold_is_the_lowest_that_keeps_the_precision(
    positives: list[float], negatives: list[float], precision: float
) -> None:
    def holds(bar: float) -> bool:
        true, false = (sum(score >= bar for score in some) for some in (positives, negatives))
        return true > 0 and true >= precision * (true + false)

    oracle = min((bar for bar in positives if holds(bar)), default=float("inf"))
    found = recall.threshold(np.array(positives, np.float32), np.array(negatives, np.float32), precision)
    assert found == np.float32(oracle)


@given(st.integers(2, 6), st.integers(0, 2**16))
def test_a_query_has_one_original_and_ignored_pairs_do_not_count(count: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    similarity = chance.random((9, count), np.float32)
    originals = chance.integers(0, count, 9)
    ignored = chance.random((count, count)) < 0.3
    scored = recall.scored(similarity, originals, ignored)
    for row, original in enumerate(originals.tolist()):
        assert scored.own[row] == similarity[row, original]
        counted = [other for other in range(count) if other != original and not ignored[original, other]]
        assert np.flatnonzero(np.isfinite(scored.others[row])).tolist() == counted


@pytest.mark.parametrize("name", [*transforms.ATTACKS, "mixed"])
def test_an_attack_follows_its_seed_and_leaves_a_picture(name: str) -> None:
    attack = transforms.ATTACKS.get(name, transforms.mixed)
    for number, picture in enumerate([*drawn(4, 3), Image.new("RGB", (40, 97), "red"), Image.new("RGB", (300, 31))]):
        before = picture.tobytes()
        for strength in (0.0, 0.4, 1.0):
            first, second = (attack(picture, Random(number), strength) for _ in range(2))
            assert first.mode == "RGB"
            assert min(first.size) >= 16
            assert (first.size, first.tobytes()) == (second.size, second.tobytes())
        assert picture.tobytes() == before


def test_what_is_drawn_follows_its_seed() -> None:
    first, second = ([picture.tobytes() for picture in drawn(6, 5)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 6


@needs_hashes
def test_a_method_that_knows_all_finds_all_and_one_that_knows_nothing_nothing() -> None:
    image = importlib.import_module("export.evaluate.image")
    contents = [transforms.jpeg(picture, 90) for picture in drawn(12, 9)]
    asked = image.queries(contents, 3, 4)
    answers = {content: row for row, content in enumerate(contents)} | dict(
        zip(asked.contents, asked.originals.tolist(), strict=True)
    )

    def oracle(some: list[bytes]) -> dict[str, recall.Floats]:
        return {"oracle": np.eye(len(contents), dtype=np.float32)[[answers[content] for content in some]]}

    def same(some: list[bytes]) -> dict[str, recall.Floats]:
        return {"same": np.ones((len(some), 4), np.float32)}

    albums = [photos.Photo(content, None) for content in contents]
    report = image.judge(albums, [], [oracle, same], 3, 0.99, 4)
    assert report.queries == len(asked.contents) == 3 * (3 * 9 + 2)
    assert set(report.shared["oracle"].values()) == set(report.own["oracle"].values()) == {1.0}
    assert set(report.shared["same"].values()) == {0.0}
    assert "| all | 1.000 | 0.000 |" in image.markdown(report)


@needs_hashes
def test_baselines_find_what_was_only_saved_again() -> None:
    baselines = importlib.import_module("export.evaluate.baselines")
    pictures = drawn(10, 2)
    first = baselines.describe([transforms.jpeg(picture, 95) for picture in pictures])
    second = baselines.describe([transforms.jpeg(picture, 85) for picture in pictures])
    for name, rows in first.items():
        similarity = baselines.SIMILARITIES.get(name, baselines.product)(rows, second[name])
        assert (np.diag(similarity) > 0.6).all(), name
        assert similarity.max() <= 1.0 + 1e-5


@needs_hashes
def test_a_shot_taken_twice_is_found_by_its_thumbnail() -> None:
    image = importlib.import_module("export.evaluate.image")
    pictures = drawn(5, 8)
    again = pictures[2].crop((1, 1, 95, 95))
    alike = image.twins([transforms.jpeg(picture, 90) for picture in [*pictures, again]])
    assert alike[2, 5]
    assert alike[5, 2]
    assert not alike.diagonal().any()


@needs_hashes
def test_a_folder_that_is_no_model_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("export.evaluate.__main__").main
    assert main(["image", "--photos", str(tmp_path), "--model", str(tmp_path)]) == 1
    assert "spec.json" in capsys.readouterr().err
