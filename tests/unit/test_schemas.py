"""The documents under `docs/` are those the code makes, and what the code sends is what they say."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError

from consumer import schemas
from consumer.asyncapi import example_feedback
from consumer.clusters import Change
from consumer.decode import decode
from consumer.errors import RejectedError
from consumer.events import MEMBERS_SHOWN, EventRenderer
from consumer.feedback import decode_feedback
from consumer.letters.dead_letters import dead_letter
from consumer.profile import BUILT_IN, load_profile
from consumer.records import (
    Cause,
    Cluster,
    ClusterChange,
    ClusterEventKind,
    Evidence,
    Match,
    Member,
    Message,
    Position,
    PossibleChange,
    Rejected,
    Retired,
)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = schemas.documents()
RENDERER = EventRenderer("signup", "default", "digest")
CAUSE = Cause(Position("vectors.signup", 3, 41), Position("signups", 0, 7), 1_767_225_600_123)
MATCH = Match("b", 0.9, duplicate=True, similarities={"text": 0.75}, contributions={"text": 2.5})
HELD = Evidence("a", "b", MATCH, held="size_cap")
MEMBERS = [f"r{i}" for i in range(MEMBERS_SHOWN + 1)]


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DOCUMENTS[f"schemas/{name}.schema.json"])
    return loaded


def validate(name: str, value: Any) -> None:
    Draft202012Validator(schema(name)).validate(value)
    Draft202012Validator(closed(schema(name))).validate(value)


def closed(part: Any) -> Any:
    """The schema with nothing allowed that it does not name: what we send ourselves has to be documented."""
    if isinstance(part, list):
        return [closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    inner = {key: closed(value) for key, value in part.items()}
    return {"additionalProperties": False, **inner} if isinstance(part.get("properties"), dict) else inner


def message(value: bytes | None, key: bytes = b"r1") -> Message:
    return Message(Position("signups", 2, 7), key, value, 1_767_225_600_123, {"trace": b"1"})


def changes() -> Iterator[Change]:
    for kind in get_args(ClusterEventKind):
        yield ClusterChange(kind, "c1", 2, ["r1"], ["r2"], MEMBERS[:2], "r0", ["c0"], evidence=[HELD])
        yield ClusterChange(kind, "c1", 2, MEMBERS, (), MEMBERS, "r0", split_from="c0")
        yield ClusterChange(kind, "c1", 2, (), MEMBERS, (), None, merged_into="c2")
    yield PossibleChange("found", HELD)
    yield PossibleChange("withdrawn", Evidence("a", "b", MATCH))


def test_docs_are_what_the_code_makes() -> None:
    assert schemas.stale(DOCS) == [], "run `make docs`"


@pytest.mark.parametrize(
    "name", ["cluster-event", "possible-event", "cluster-state", "dead-letter", "feedback", "profile", *BUILT_IN]
)
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("change", list(changes()), ids=lambda c: c.kind)
def test_every_event_is_as_documented(change: Change) -> None:
    event = orjson.loads(RENDERER.entry(change, CAUSE).value)

    validate("possible-event" if isinstance(change, PossibleChange) else "cluster-event", event)
    assert event["dataschema"] == schema(event["dataschema"].split(":")[3])["$id"]


@pytest.mark.parametrize("cluster", [Cluster("c1", 2, 0, {"r": Member(1, 0.5)}, "r"), Retired(3, "c2")])
def test_every_state_is_as_documented(cluster: Cluster | Retired) -> None:
    validate("cluster-state", orjson.loads(RENDERER.state("c1", cluster) or b"null"))


def test_a_dead_letter_is_as_documented() -> None:
    letter = dead_letter(Rejected(message(b"\xff"), "encode", "not JSON"))
    headers = {name: value.decode() for name, value in letter.headers.items()}

    assert headers.pop("trace") == "1"
    validate("dead-letter", headers)
    assert (letter.topic, letter.value) == ("signups.dlq", b"\xff")


@pytest.mark.parametrize("name", ["cluster-event", "possible-event"])
def test_an_event_that_breaks_the_contract_is_refused(name: str) -> None:
    event = json.loads(examples(name)[0])
    validator = Draft202012Validator(schema(name))

    for broken in ({**event, "type": "other"}, {**event, "data": {}}, {k: v for k, v in event.items() if k != "id"}):
        assert not validator.is_valid(broken)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"id": "r1", "name": "Ada", "city": None, "os": 11, "login_times": ["2026-01-01T10:00:00Z"], "more": {}},
        {"login_times": "2026-01-01T10:00:00Z"},
        {"login_times": None, "name": ""},
        {"id": 1},
        {"name": {}},
        {"name": ["Ada"]},
        {"city": True},
        {"login_times": 5},
        {"login_times": [5]},
        [],
    ],
)
def test_a_signup_is_accepted_when_its_schema_accepts_it(record: object) -> None:
    try:
        decode(message(orjson.dumps(record)), load_profile("signup"))
        accepted = True
    except RejectedError:
        accepted = False

    assert Draft202012Validator(schema("signup")).is_valid(record) == accepted


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"a": "s-9", "more": {}},
        {"a": ""},
        {"a": "x" * 256},
        {"a": "x" * 257},
        {"b": 7},
        {"b": None},
        {"verdict": "maybe"},
        {"verdict": None},
        {"by": " "},
        {"by": "x" * 129},
        {"profile": "Sign up"},
        {"scope": None},
        {"scope": "default"},
        {"scope": "no scope"},
        {"scope": ["default"]},
        {"at": None},
        {"at": "2026-01-02"},
        {"at": "2026-01-02T09:30:00"},
        {"at": "2026-01-02T09:30:00+01:00"},
        {"at": "2026-01-02t09:30:00.123456789z"},
        {"at": 1_767_225_600_123},
    ],
    ids=str,
)
def test_a_word_of_a_person_is_accepted_when_its_schema_accepts_it(changes: dict[str, object]) -> None:
    said = {**example_feedback(), **changes}
    try:
        accepted = decode_feedback(message(orjson.dumps(said)), load_profile("signup")) is not None
    except RejectedError:
        accepted = False

    assert Draft202012Validator(schema("feedback")).is_valid(said) == accepted


# AsyncAPI


def asyncapi() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(DOCUMENTS["asyncapi.yaml"])
    return loaded


def examples(name: str) -> list[str]:
    messages = asyncapi()["components"]["messages"].values()
    found = [m for m in messages if m["payload"].get("$ref") == f"./schemas/{name}.schema.json"]
    return [json.dumps(example["payload"]) for example in found[0].get("examples", [])]


def resolve(reference: str) -> Any:
    """What a $ref of the document points to; KeyError when nothing."""
    if reference.startswith("./"):
        return json.loads(DOCUMENTS[reference.removeprefix("./")])
    target: Any = asyncapi()
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    return target


def references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    found = set(references(asyncapi()))

    assert all(resolve(reference) for reference in found)
    messages = {f"./{name}" for name in DOCUMENTS if name.startswith("schemas/")} - {"./schemas/profile.schema.json"}
    assert messages <= found


def test_channels_name_their_topics_and_messages() -> None:
    channels = asyncapi()["channels"]

    assert {channel["address"] for channel in channels.values()} == {
        "signups",
        "listings",
        "{input}.dlq",
        "duplicate-feedback",
        "vectors.{profile}",
        "duplicate-events",
        "duplicate-clusters",
        "possible-duplicates",
    }
    for channel in channels.values():
        named = {part.split("}")[0] for part in channel["address"].split("{")[1:]}
        assert named == set(channel.get("parameters", {}))
        assert channel["messages"]


def test_every_channel_is_used_and_every_message_has_a_key() -> None:
    document = asyncapi()
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}

    assert used == {f"#/channels/{name}" for name in document["channels"]}
    assert {operation["action"] for operation in document["operations"].values()} == {"send", "receive"}
    for sent in document["components"]["messages"].values():
        assert sent["payload"]
        assert sent["bindings"]["kafka"]["key"]["description"]


@pytest.mark.parametrize("name", ["cluster-event", "possible-event", "cluster-state", "feedback"])
def test_examples_are_as_documented(name: str) -> None:
    assert examples(name)
    for example in examples(name):
        validate(name, json.loads(example))


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "consumer" / "profiles" / f"{name}.yaml" for name in BUILT_IN), ROOT / "examples" / "patients.yaml"],
    ids=lambda path: path.stem,
)
def test_a_profile_is_as_documented(path: Path) -> None:
    profile = yaml.safe_load(path.read_text("utf-8"))
    validate("profile", profile)
    wrong = [{**profile, "colour": "red"}, {**profile, "fusion": {"duplicate": "much"}}, {**profile, "modalities": {}}]
    for each in wrong:
        with pytest.raises(ValidationError):
            validate("profile", each)


# the command


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(schemas.main, [str(tmp_path)]).exit_code == 0
    assert run(schemas.main, [str(tmp_path), "--check"]).exit_code == 0

    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 2.6.0\n")
    (tmp_path / "schemas" / "signup.schema.json").unlink()
    (tmp_path / "schemas" / "old.schema.json").write_text("{}")
    checked = run(schemas.main, [str(tmp_path), "--check"])

    assert checked.exit_code == 1
    for name in ("asyncapi.yaml", "schemas/signup.schema.json", "schemas/old.schema.json"):
        assert name in checked.output
    assert "cluster-event" not in checked.output


def test_the_same_code_makes_the_same_bytes() -> None:
    assert schemas.documents() == DOCUMENTS
