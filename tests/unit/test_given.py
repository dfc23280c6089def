"""What a benchmark's command line refuses before anything is measured."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import given


def told(capsys: pytest.CaptureFixture[str], kind: Callable[[str], object], text: str) -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("value", type=kind)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--", text])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-3"])
def test_nothing_is_no_count(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert f"{text}: 1 or more is wanted" in told(capsys, given.count, text)


def test_words_are_no_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert "invalid count value: 'many'" in told(capsys, given.count, "many")
    assert given.count("12") == 12


def test_files_and_folders(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"a": 1}\n')
    (tmp_path / "list").write_text("[1]")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert given.file(str(tmp_path / "file")) == tmp_path / "file"
    assert given.folder(str(tmp_path / "to be made")) == tmp_path / "to be made"
    assert given.figures(str(tmp_path / "file")) == {"a": 1}
    (tmp_path / "printed").write_text('snapshot written\n{"a": 2}\n')
    assert given.figures(str(tmp_path / "printed")) == {"a": 2}
    assert "no such file" in told(capsys, given.file, str(tmp_path / "none"))
    assert "no such file" in told(capsys, given.file, str(tmp_path))
    assert "a folder is wanted" in told(capsys, given.folder, str(tmp_path / "file"))
    for name in ("list", "binary"):
        assert "a JSON object of figures is wanted" in told(capsys, given.figures, str(tmp_path / name))
