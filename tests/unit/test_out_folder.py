"""`--out`: what takes long says at its start, not at its end, that its results could not be written."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from consumer.commands.files import evaluate
from consumer.errors import SettingsError
from loadtest.__main__ import cli as loadtest


@pytest.fixture
def below_a_file(tmp_path: Path) -> str:
    (tmp_path / "file").write_text("")
    return str(tmp_path / "file" / "below")


@pytest.mark.parametrize("command", [["run", "smoke"], ["ceiling"]])
def test_a_load_test_says_it_before_it_asks_for_brokers(command: list[str], below_a_file: str) -> None:
    done = CliRunner().invoke(loadtest, [*command, "--out", below_a_file], env={"DEDUP_KAFKA__BOOTSTRAP_SERVERS": ""})
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception) == f"{below_a_file}: Not a directory; name a folder that can be written"


def test_an_evaluation_says_it_before_it_reads(tmp_path: Path, below_a_file: str) -> None:
    (tmp_path / "none").write_text("")
    done = CliRunner().invoke(
        evaluate, [str(tmp_path / "none"), "--truth", str(tmp_path / "none"), "--out", below_a_file]
    )
    assert isinstance(done.exception, SettingsError)
    assert "name a folder that can be written" in str(done.exception)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    done = CliRunner().invoke(loadtest, ["ceiling", "--out", str(tmp_path)], env={"DEDUP_KAFKA__BOOTSTRAP_SERVERS": ""})
    assert "bootstrap_servers" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
