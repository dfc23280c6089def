from pathlib import Path

import pytest

from consumer.errors import SettingsError
from consumer.evaluate import read_truth
from consumer.lines import lines_of


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", [b""]),
        (b'\xef\xbb\xbf{"id": "a"}\r\n\r\n{}', [b'{"id": "a"}\r\n', b"\r\n", b"{}"]),
        (b"{}\n\xef\xbb\xbf{}\n", [b"{}\n", b"\xef\xbb\xbf{}\n"]),
        ("a\u2028b\x0bc\n".encode(), ["a\u2028b\x0bc\n".encode()]),
    ],
)
def test_lines_end_at_line_feeds_and_the_first_has_no_mark(tmp_path: Path, content: bytes, lines: list[bytes]) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert list(lines_of(file)) == lines


def test_a_spreadsheet_saved_on_windows_is_read(tmp_path: Path) -> None:
    sheet = tmp_path / "truth.csv"
    sheet.write_bytes(b"\xef\xbb\xbfid,cluster_id\r\na,1\r\nb,1\r\n")
    assert read_truth(sheet) == {"a": "1", "b": "1"}


def test_a_record_in_two_clusters_is_refused(tmp_path: Path) -> None:
    """The last of the two would count, and nobody would know."""
    sheet = tmp_path / "truth.csv"
    sheet.write_text("id,cluster_id\na,1\nb,1\na,1\nb,2\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="line 5: b is in another cluster further up"):
        read_truth(sheet)
