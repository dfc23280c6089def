"""A review sheet as people save it, and the command line that takes it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from consumer.__main__ import cli
from consumer.errors import SettingsError
from consumer.review import Sheet, read_sheet, word
from tests.factories import offer_profile, person_profile

PERSON, OFFER = person_profile(), offer_profile()
HEAD = "a,b,verdict"


def sheet(path: Path, text: str, by: str | None = "Ann", scope: str | None = None) -> Sheet:
    file = path / "sheet.csv"
    file.write_bytes(text.encode())
    return read_sheet(file, OFFER if scope or "scope" in text else PERSON, by, scope)


def faults(path: Path, text: str, by: str | None = "Ann") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        sheet(path, text, by)
    heading, *lines = str(caught.value).split("\n  ")
    assert heading.startswith(f"{path}/sheet.csv:")
    return lines or [heading.removeprefix(f"{path}/sheet.csv: ")]


def test_rows_become_words_said_now_by_who_hands_them_in(tmp_path: Path) -> None:
    read = sheet(tmp_path, f"{HEAD}\nr2,r1,same\nr3,r4,different\n")
    assert [(s["a"], s["b"], s["verdict"], s["by"], s["profile"]) for s in read.said] == [
        ("r1", "r2", "same", "Ann", "person"),
        ("r3", "r4", "different", "Ann", "person"),
    ]
    assert {datetime.fromisoformat(s.get("at") or "").tzinfo is not None for s in read.said} == {True}
    assert len({s.get("at") for s in read.said}) == 1


def test_a_row_may_name_who_says_so_and_the_scope(tmp_path: Path) -> None:
    text = "\ufeffnote,b,verdict,by,scope,a\r\nx, r1 ,same,Bob,at,r2\r\n,r3,same,,,r4\r\n"
    assert [(s["a"], s["by"], s.get("scope")) for s in sheet(tmp_path, text, "Ann", "de").said] == [
        ("r1", "Bob", "at"),
        ("r3", "Ann", "de"),
    ]


def test_rows_without_a_verdict_are_counted_and_wait(tmp_path: Path) -> None:
    read = sheet(tmp_path, f"{HEAD}\nr1,r2,\nr3,r4,same\n\nr5,r6, \nr7,r8\n")
    assert (len(read.said), read.unanswered) == (1, 3)
    assert sheet(tmp_path, f"{HEAD}\n") == Sheet([], 0)


def test_the_same_word_twice_is_one(tmp_path: Path) -> None:
    assert len(sheet(tmp_path, f"{HEAD}\nr1,r2,same\nr2,r1,same\n").said) == 1


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    text = f'{HEAD}\nr1,r2,same\n"r\n1",r3,perhaps\nr1,r1,same\nr2,r1,different\n{"x" * 257},r2,same\n'
    assert faults(tmp_path, text) == [
        "line 4: verdict: Input should be 'same', 'different' or 'undecided'",
        "line 5: a and b are the same record",
        "line 6: says `different` of the pair that line 2 calls `same`",
        "line 7: a: String should have at most 256 characters",
    ]
    assert faults(tmp_path, f"{HEAD}\nr1,r2,same\n", by=None) == ["line 2: by: Field required"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first line must name the columns; missing: a, b, verdict"),
        ("r1;r2;same\n", "the first line must name the columns; missing: a, b, verdict"),
        ("a,verdict\nr1,same\n", "the first line must name the columns; missing: b"),
        (f'{HEAD}\n"{"x" * 200_000}",r2,same\n', "not CSV: field larger than field limit (131072)"),
    ],
    ids=["empty", "semicolons", "a column short", "a cell too long"],
)
def test_a_file_that_is_no_sheet_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert faults(tmp_path, text) == [reason]


def test_a_sheet_that_is_not_utf8_or_not_there_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes(f"{HEAD}\nr1,r2,same,é".encode("latin-1"))
    for path, reason in ((latin, "not UTF-8"), (tmp_path, "Is a directory"), (tmp_path / "none", "No such file")):
        with pytest.raises(SettingsError, match=reason):
            read_sheet(path, PERSON, "Ann", None)


def test_a_word_that_is_none_is_a_message_of_ours() -> None:
    with pytest.raises(SettingsError, match="feedback: scope: the profile person has one scope, default"):
        word(PERSON, {"a": "r1", "b": "r2", "verdict": "same", "by": "Ann", "scope": "de"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name two records"),
        (["r1"], "name two records"),
        (["r1", "r2"], "name two records"),
        (["r1", "r2", "r3", "--same"], "name two records"),
        (["r1", "r2", "--same", "--different"], "name two records"),
        (["r1", "r2", "--file", __file__], "name two records"),
        (["--same", "--file", __file__], "name two records"),
        (["r1", "r2", "--same"], "--by is missing"),
        (["--file", "nonesuch.csv"], "does not exist"),
    ],
    ids=str,
)
def test_a_command_that_does_not_say_who_says_what_of_whom_is_refused(arguments: Sequence[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["feedback", *arguments])
    assert done.exit_code == 2
    assert said in done.output
