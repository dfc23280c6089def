"""A small encoder is trained on generated pairs and goes through the whole export, or nothing comes out."""

import csv
import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from consumer.adapters.onnx_session import CPU
from consumer.adapters.subword_encoder import SubwordEncoder
from export.__main__ import main

NEEDED = ("torch", "onnx", "faker")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and faker warn
]

SIZES = ("--dim", "16", "--families", "150", "--steps", "20", "--check-texts", "60", "--min-found", "0.5")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of people, two spellings of each."""
    families = importlib.import_module("export.families")
    folder = tmp_path_factory.mktemp("people")
    pairs = [pair for family in families.generated(60, 5) for pair in family]
    rows = [
        (f"{number}{side}", number, text)
        for number, pair in enumerate(pairs)
        for side, text in zip("ab", pair, strict=True)
    ]
    with (folder / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "cluster_id"), *((record, entity) for record, entity, _ in rows)])
    lines = (json.dumps({"id": record, "name": text}) for record, _, text in rows)
    (folder / "signups.jsonl").write_text("\n".join(lines))
    return folder


def train(out: Path, *more: str) -> int:
    return main(["train-text", "--name", "tiny", "--out", str(out), *SIZES, *more])


def test_what_was_trained_is_what_is_loaded(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "--data", str(data)) == 0
    folder = tmp_path / "tiny"
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["sha256"]["model.onnx"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (spec["dim"], spec["modality"], spec["training"]["labelled_records"]) == (16, "subword", 480)
    assert spec["parity"]["cosine_mean"] > 0.99
    assert spec["parity"]["batch_difference"] < 1e-5
    assert str(data) not in (folder / "spec.json").read_text() + (folder / "NOTICE").read_text()
    encoder = SubwordEncoder(folder, ["text"], providers=[CPU])
    vectors = encoder.encode(
        [{"text": text} for text in ("ann lee, leeds", "anne lee, leeds", "tom hardy, york")]
    ).vectors
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_bad_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--min-cosine", "1.5") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_without_labels_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--data", str(tmp_path / "nowhere")) == 1
    assert "truth.csv" in capsys.readouterr().err


def test_a_seed_gives_one_network() -> None:
    subword, families = importlib.import_module("export.subword"), importlib.import_module("export.families")
    drawn = families.generated(100, 5)
    first, second = (subword.train([], drawn, dim=8, steps=5, seed=3).rows() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_training_brings_pairs_together() -> None:
    subword, families = importlib.import_module("export.subword"), importlib.import_module("export.families")
    tokens = importlib.import_module("consumer.adapters.subword_tokens")
    drawn = families.generated(150, 5)
    pairs = [pair for family in drawn for pair in family]

    def found(steps: int) -> float:
        network = subword.train([], drawn, dim=16, steps=steps, seed=3)
        first, second = (
            subword.encode(network, [tokens.features(pair[side]) or (0,) for pair in pairs]) for side in (0, 1)
        )
        return float(((first @ second.T).argmax(1) == np.arange(len(pairs))).mean())

    assert found(100) > found(0) + 0.02


def test_the_generator_follows_its_seed() -> None:
    families = importlib.import_module("export.families")
    assert families.generated(20, 5) == families.generated(20, 5)
    assert families.generated(20, 5) != families.generated(20, 6)


@pytest.mark.parametrize(
    "change",
    [
        "names.person",
        "names.abroad",
        "titles.title",
        "titles.sibling",
        "slips.slip",
        "slips.misheard",
        "scripts.foreign",
    ],
)
def test_no_corruption_empties_or_breaks_a_text(change: str) -> None:
    module, function = change.split(".")
    corrupt = getattr(importlib.import_module(f"export.{module}"), function)
    chance = Random(11)
    for text in ("Ann Lee, Leeds", "X", "김미진, 서울", "Lumo X-40 tent 80 GB", "Ольга Петрова", "a b c d e f"):
        for _ in range(200):
            assert corrupt(text, chance).strip()


def test_a_sibling_is_another_thing() -> None:
    titles = importlib.import_module("export.titles")
    chance = Random(12)
    assert all(titles.sibling("Lumo X-40 tent", chance) != "Lumo X-40 tent" for _ in range(100))


def test_a_name_in_another_script_has_none_of_its_letters() -> None:
    scripts = importlib.import_module("export.scripts")
    chance = Random(13)
    for name in ("Emily Mortimer", "Graham Norton", "Zoë Quixote", "Jerzy Szczepański"):
        for _ in range(100):
            written = scripts.foreign(name, chance)
            assert not any(letter.isascii() and letter.isalpha() for letter in written), written


def test_hangul_is_whole_syllables() -> None:
    hangul = importlib.import_module("export.hangul")
    chance = Random(14)
    for word in ("Schmidt", "Crasson", "Ng", "Iero", "Christchurch", "Wyatt"):
        for _ in range(100):
            assert all("\uac00" <= letter <= "\ud7a3" for letter in hangul.hangul(word, chance))


def test_a_family_name_keeps_its_spellings() -> None:
    hangul = importlib.import_module("export.hangul")
    chance = Random(15)
    spellings = {hangul.romanised("이", "영희", chance).replace("-", " ") for _ in range(300)}
    assert {spelling.split()[0] for spelling in spellings} >= {"Lee", "Yi", "Rhee"}


def test_words_are_drawn_by_how_common_they_are() -> None:
    vocabulary = importlib.import_module("export.vocabulary")
    drawn = vocabulary.draw(20_000, Random(16))
    words = vocabulary.words()
    assert len(words) > 10_000
    assert abs(sum(vocabulary.shares()) - 1) < 1e-9
    common, rare = set(words[:500]), set(words[10_000:10_500])
    assert sum(word in common for word in drawn) > 5 * sum(word in rare for word in drawn)
