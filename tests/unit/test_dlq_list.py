"""What `dedup dlq list` shows of a letter, to a terminal or a pipe of any width."""

import pytest

from consumer.commands.dlq import _print_rows

LETTER = {
    "rejected": "2026-01-02T09:30:01Z",
    "stage": "encode",
    "reason": "not JSON: unexpected character, expected a JSON value at character 0",
    "from": "signups/3/1742",
    "sent": "2026-01-02T09:30:00Z",
    "key": "s-1001",
    "bytes": 8,
    "sha256": "7ccfa1fbf3940e6f0c0375d87c0f9235",
    "replayed": False,
}


def test_a_letter_is_two_lines_however_narrow_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    _print_rows([LETTER, {**LETTER, "key": None, "sha256": None, "replayed": True}])
    assert capsys.readouterr().out == (
        "signups/3/1742  encode: not JSON: unexpected character, expected a JSON value at character 0\n"
        '    rejected 2026-01-02T09:30:01Z, sent 2026-01-02T09:30:00Z, key "s-1001", 8 bytes, sha256 7ccfa1fbf394\n'
        "signups/3/1742  encode: not JSON: unexpected character, expected a JSON value at character 0\n"
        "    rejected 2026-01-02T09:30:01Z, sent 2026-01-02T09:30:00Z, no key, 8 bytes, replayed\n"
    )


def test_what_steers_a_terminal_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    _print_rows([{**LETTER, "key": "\x1b[31ms-1\n", "payload": 'Ana "Lucía"\x07\n'}])
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert '    "Ana \\"Lucía\\"\\u0007\\n"\n' in shown
