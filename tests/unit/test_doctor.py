"""What the doctor says of the folder of snapshots; the rest is looked at with real services (`tests/integration/test_cli_doctor.py`)."""

from pathlib import Path

from consumer.doctor import _state
from consumer.settings import load_settings
from tests.factories import person_profile


def test_a_folder_that_cannot_be_written_is_named_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, level in ((tmp_path / "not" / "there", "ok"), (tmp_path / "file" / "below", "warning")):
        (finding,) = _state(load_settings(None, {"state.directory": str(folder)}), person_profile())
        assert (finding.level, bool(finding.advice)) == (level, level == "warning")
        assert str(folder) in finding.detail
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
