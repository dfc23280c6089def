"""Files that hold no record: said with a reason, by whatever command reads them."""

from pathlib import Path

import pytest

from consumer.batch import run_batch
from consumer.errors import SettingsError
from consumer.evaluate import evaluate
from consumer.settings import Settings, load_settings
from tests.deployment import PERSON

SAVED_AS = {
    "CSV": (b"id,name\n1,Ana\n", "line 1: not JSON"),
    "one list": (b'[{"id": "1", "name": "Ana"}]', "line 1: a JSON object is wanted"),
    "numbers as ids": (b'{"id": 1, "name": "Ana"}\n', "line 1: the message has no key"),
    "Latin-1": ('{"id": "1", "name": "José"}\n'.encode("latin-1"), "line 1: not JSON"),
    "nothing": (b"", "no record in it; a JSON object a line is wanted"),
}


@pytest.fixture
def settings() -> Settings:
    return load_settings(None, {"profile": str(PERSON), "log.level": "error"})


@pytest.fixture(params=SAVED_AS)
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    content, reason = SAVED_AS[request.param]
    (tmp_path / "people.jsonl").write_bytes(content)
    return tmp_path / "people.jsonl", reason


def test_a_batch_without_a_record_is_an_error(settings: Settings, wrong: tuple[Path, str], tmp_path: Path) -> None:
    file, reason = wrong
    with pytest.raises(SettingsError, match="there is no record in it") as caught:
        run_batch(settings, file, tmp_path / "out", lambda _: None)
    assert str(caught.value).startswith(f"{file}: ")
    assert reason in str(caught.value)
    letters = (tmp_path / "out" / "dead_letters.jsonl").read_bytes().splitlines()
    assert len(letters) == len([line for line in file.read_bytes().splitlines() if line])


def test_an_evaluation_without_a_record_does_not_blame_the_truth(
    settings: Settings, wrong: tuple[Path, str], tmp_path: Path
) -> None:
    file, reason = wrong
    (tmp_path / "truth.csv").write_text("id,cluster_id\n1,a\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        evaluate(
            settings,
            file,
            tmp_path / "truth.csv",
            cross_source=False,
            singles=0.0,
            orders=0,
            seed=7,
            progress=lambda *_: None,
        )
    assert reason in str(caught.value)
