"""`dedup batch`: a file in, files out, the same ones each time, and what it makes of lines that it cannot use."""

import csv
import json
from pathlib import Path

import orjson

from consumer.evaluation import EventView, pairwise
from consumer.simulate import signups
from tests.command_line import assert_refused, dedup
from tests.deployment import DAY, PERSON
from tests.services import ROOT


def test_batch_writes_its_files_and_does_so_again(records: Path, tmp_path: Path) -> None:
    done = dedup("batch", records, "--out", tmp_path / "one", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "one" / "summary.json").read_text())
    with (tmp_path / "one" / "clusters.csv").open(newline="") as file:
        rows = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    truth = {s.id: s.person for s in signups(300, seed=4)}
    assert rows.keys() == truth.keys()
    view = EventView()
    for line in (tmp_path / "one" / "events.jsonl").read_bytes().splitlines():
        view.apply(orjson.loads(line))
    assert view.gaps == []
    assert {record: cid for record, cid in rows.items() if record in view.assignments} == view.assignments
    assert pairwise(truth, rows).f1 > 0.6
    assert (summary["records"], summary["rejected"]) == (300, 3)
    assert (summary["clusters"], summary["clustered_records"]) == (len(view.clusters), len(view.assignments))
    letters = [json.loads(line) for line in (tmp_path / "one" / "dead_letters.jsonl").read_text().splitlines()]
    assert [letter["line"] for letter in letters] == [11, 13, 201]
    assert all(letter["reason"] for letter in letters)
    assert "nobody" not in str(letters)

    assert dedup("batch", records, "--out", tmp_path / "two", "--json").stdout == done.stdout
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["clusters.csv", "dead_letters.jsonl", "events.jsonl", "possible.jsonl", "summary.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_example_of_an_own_profile_finds_a_patient_again(tmp_path: Path) -> None:
    """A slip in the name and a date written otherwise; who lives there too; a namesake of whom little is known."""
    joshua = {"given_name": "Joshua", "surname": "Garthwaite", "date_of_birth": "1905-07-03"}
    home = {"street": "24 McClintock Street", "suburb": "Avoca", "postcode": "3175"}
    patients: list[dict[str, str]] = [
        {"id": "p-1", **joshua, **home},
        {"id": "p-2", **joshua, **home, "surname": "Garthwait", "date_of_birth": "3.7.1905"},
        {"id": "p-3", **home, "given_name": "Emma", "surname": "Garthwaite", "date_of_birth": "1984-08-07"},
        {"id": "p-4", "given_name": "Joshua", "surname": "Garthwaite"},
    ]
    source = tmp_path / "patients.jsonl"
    source.write_bytes(b"\n".join(map(orjson.dumps, patients)))
    done = dedup("batch", source, "--out", tmp_path / "out", "--profile", ROOT / "examples" / "patients.yaml")
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(",") for line in (tmp_path / "out" / "clusters.csv").read_text().split()[1:])
    assert rows["p-1"] == rows["p-2"]
    assert len(set(rows.values())) == 3


def test_batch_without_json_says_it_in_words(records: Path, tmp_path: Path) -> None:
    done = dedup("batch", records, "--out", tmp_path / "out", "--profile", PERSON)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("300 records, ")
    assert "3 lines rejected" in done.stdout


def test_batch_applies_what_people_say_after_the_records(tmp_path: Path) -> None:
    names = {"r1": "Adaeze Brennan", "r2": "Adaeze Brennan", "r3": "Tomás Villanueva"}
    source, feedback = tmp_path / "records.jsonl", tmp_path / "feedback.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps({"id": r, "name": n, "city": "Wien", **DAY}) for r, n in names.items()))
    pairs = {("r1", "r2"): "different", ("r3", "r2"): "same"}
    said = [{"a": a, "b": b, "verdict": v, "by": "Ann", "profile": "person"} for (a, b), v in pairs.items()]
    feedback.write_bytes(b"\n".join(map(orjson.dumps, [*said, {**said[0], "profile": "other"}])))
    for out in ("one", "two"):
        arguments = ("--profile", PERSON, "--feedback", feedback, "--out", tmp_path / out, "--json")
        done = dedup("batch", source, *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdicts"] == 2
    with (tmp_path / "one" / "clusters.csv").open(newline="") as file:
        rows = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    assert rows["r1"] == "alone:r1"
    assert rows["r2"] == rows["r3"]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

    feedback.write_bytes(orjson.dumps({**said[0], "verdict": "perhaps"}))
    done = dedup("batch", source, "--profile", PERSON, "--feedback", feedback, "--out", tmp_path / "three")
    assert_refused(done, "feedback.jsonl", "line 1: verdict: ")
    assert not (tmp_path / "three").exists()


def test_batch_goes_through_a_file_of_which_no_line_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("anna,paris\n" * 3_000)
    done = dedup("batch", tmp_path / "people.csv", "--out", tmp_path / "out")
    assert_refused(done, "there is no record in it")
    assert len((tmp_path / "out/dead_letters.jsonl").read_bytes().splitlines()) == 3_000


def test_a_line_that_no_topic_would_take_is_a_dead_letter_of_batch(tmp_path: Path) -> None:
    source = tmp_path / "large.jsonl"
    large = orjson.dumps({"id": "large", "name": "x" * 17 * 1024**2})
    source.write_bytes(b"\n".join([large, b'{"id": "small", "name": "maria garcia", "city": "madrid"}']))
    done = dedup("batch", source, "--out", tmp_path / "out", "--profile", PERSON, "--json")
    assert done.returncode == 0, done.stderr
    letters = (tmp_path / "out" / "dead_letters.jsonl").read_bytes().splitlines()
    assert [orjson.loads(letter) for letter in letters] == [{"line": 1, "reason": "larger than 16 MiB"}]
    assert orjson.loads(done.stdout)["records"] == 1


def test_batch_says_what_it_cannot_read_or_write(records: Path, tmp_path: Path) -> None:
    assert_refused(dedup("batch", tmp_path / "none.jsonl", "--out", tmp_path), "none.jsonl", code=2)
    (tmp_path / "file").write_text("")
    assert_refused(dedup("batch", records, "--out", tmp_path / "file"), "is a file", code=2)
    assert_refused(dedup("batch", records, "--out", tmp_path / "file" / "below"), "Not a directory")
    assert_refused(dedup("batch", records, "--out", "/proc/self/none"), "/proc/self/none")
    (tmp_path / "events.jsonl").write_bytes(records.read_bytes())
    assert_refused(dedup("batch", tmp_path / "events.jsonl", "--out", tmp_path), "would be overwritten")
    assert (tmp_path / "events.jsonl").read_bytes() == records.read_bytes()
    empty = {"DEDUP_MODELS__DIRECTORY": str(tmp_path)}
    assert_refused(dedup("batch", records, "--out", tmp_path / "out", **empty), "subword", "spec.json")
