"""The contract as documents: JSON Schemas and the AsyncAPI description, generated from the code that keeps it.

`python -m consumer.schemas docs` writes them, and with `--check` fails when they differ from the code. The same code
gives the same bytes.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import click
import orjson
import yaml
from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from consumer.clusters import Change
from consumer.decode import DEFAULT_SCOPE, MAX_ID_CHARS, MAX_TEXT_CHARS, MAX_TIMESTAMPS
from consumer.events import CloudEvent, ClusterEventData, ClusterState, EventRenderer, PossibleEventData
from consumer.profile import BUILT_IN, FieldSpec, Profile, load_profile
from consumer.records import (
    Cause,
    Cluster,
    ClusterChange,
    ClusterEventKind,
    Evidence,
    Match,
    Member,
    Position,
    PossibleChange,
)
from consumer.vectors import INGESTED_HEADER, SOURCE_HEADER

Schema = dict[str, Any]
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_KAFKA_BINDING: Final = "0.5.0"

DeadLetterHeaders = TypedDict(
    "DeadLetterHeaders",
    {
        "dedup-stage": Annotated[str, Field(description="Stage that rejected the message: `encode` or `match`.")],
        "dedup-reason": Annotated[str, Field(description="What is wrong with the message; never its content.")],
        "dedup-topic": Annotated[str, Field(description="Topic the message came from.")],
        "dedup-partition": Annotated[str, Field(pattern="^[0-9]+$", description="Its partition there.")],
        "dedup-offset": Annotated[str, Field(pattern="^[0-9]+$", description="Its offset there.")],
        "dedup-timestamp": Annotated[
            str, Field(pattern="^-?[0-9]+$", description="Its timestamp there, in milliseconds since 1970.")
        ],
    },
)
DeadLetterHeaders.__doc__ = (
    "Headers of a dead letter, each UTF-8 text; the headers the message came with are kept beside them. Key and value "
    "are the original bytes, so producing them to `dedup-topic` again is a retry."
)


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat the name of a field."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # the base class names it
        return False


def documents() -> dict[str, str]:
    """Every generated file: path under the docs folder → text. Raises SettingsError for a faulty profile."""
    profiles = [load_profile(name) for name in BUILT_IN]
    schemas = {
        "cluster-event": _event_schema("cluster-event", "dedup.cluster", get_args(ClusterEventKind), ClusterEventData),
        "possible-event": _event_schema("possible-event", "dedup.possible", ("found", "withdrawn"), PossibleEventData),
        "cluster-state": _schema(ClusterState, "cluster-state"),
        "dead-letter": _schema(DeadLetterHeaders, "dead-letter"),
        **{profile.name: _input_schema(profile) for profile in profiles},
    }
    texts = {f"schemas/{name}.schema.json": _json(schema) for name, schema in schemas.items()}
    return {**texts, "asyncapi.yaml": _yaml(_asyncapi(profiles))}


def stale(folder: Path) -> list[str]:
    """Files under `folder` that differ from the code, are missing, or are no longer generated."""
    wanted = documents()
    found = {path.relative_to(folder).as_posix(): path for path in folder.glob("schemas/*.schema.json")}
    differing = [name for name, text in wanted.items() if _read(folder / name) != text]
    return sorted([*differing, *(found.keys() - wanted.keys())])


# schemas


def _schema(contract: Any, name: str) -> Schema:
    schema = TypeAdapter(contract).json_schema(schema_generator=_Untitled)
    return {"$schema": _DIALECT, "$id": f"urn:dedup:schema:{name}:v1", **schema}


def _event_schema(name: str, family: str, kinds: Sequence[str], data: Any) -> Schema:
    """The envelope with everything in it that is particular to one family of events."""
    envelope, body = _schema(CloudEvent, name), TypeAdapter(data).json_schema(schema_generator=_Untitled)
    properties: Schema = envelope["properties"]
    properties["type"] = {"enum": [f"{family}.{kind}.v1" for kind in kinds], "type": "string"}
    properties["dataschema"] = {"const": envelope["$id"], "type": "string"}
    properties["id"] |= {"examples": [event["id"] for event in _examples(name)]}
    properties["subject"] |= {"description": "The message key."}
    properties["data"] = {"$ref": f"#/$defs/{body['title']}"}
    definitions = {body["title"]: {k: v for k, v in body.items() if k != "$defs"}, **body["$defs"]}
    return {**envelope, "title": body["title"].removesuffix("Data"), "$defs": definitions}


def _input_schema(profile: Profile) -> Schema:
    """What `consumer.decode` accepts; properties not named here are ignored."""
    record_id = {
        "type": "string",
        "maxLength": MAX_ID_CHARS,
        "description": "If present, equal to the message key, which is the record id.",
    }
    properties = {"id": record_id, **{name: _field(name, spec, profile) for name, spec in profile.fields.items()}}
    return {
        "$schema": _DIALECT,
        "$id": f"urn:dedup:schema:{profile.name}:v1",
        "title": profile.name.capitalize(),
        "description": f"A record of the profile `{profile.name}`. A field that is missing, null or empty lowers how "
        "much two records can be compared on, and is no error. A message with a null value erases the record.",
        "type": "object",
        "properties": properties,
        "required": [profile.scope] if profile.scope else [],
    }


def _field(name: str, spec: FieldSpec, profile: Profile) -> Schema:
    if name == profile.scope:
        return {
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]{1,64}$",
            "description": "The record's scope: it is compared with the records that have the same one.",
        }
    if spec.type == "text":
        return {"type": ["string", "number", "null"], "description": f"Text; read up to {MAX_TEXT_CHARS:,} characters."}
    if spec.type == "number":
        return {
            "type": ["number", "string", "null"],
            "description": "A number, or text that holds one (`1,299.00`); other text counts as missing.",
        }
    return {
        "type": ["array", "string", "null"],
        "items": {"type": "string"},
        "description": f"ISO 8601 times, oldest first; the last {MAX_TIMESTAMPS:,} are read. UTC where no zone is given.",
    }


# AsyncAPI


def _asyncapi(profiles: Sequence[Profile]) -> Schema:
    inputs = [profile.input for profile in profiles]
    messages = dict(_messages(profiles))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Streaming duplicate detection",
            "version": "1.0.0",
            "description": "Records arrive, duplicate clusters leave. Topic names are the defaults. Delivery is at "
            "least once: an event keeps its `id` when it is delivered again. Events of one cluster are in order; "
            "events of different clusters are not, so a record may join its new cluster before it leaves its old one.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": dict(_channels(inputs, profiles)),
        "operations": dict(_operations(inputs)),
        "components": {"messages": messages},
    }


def _channels(inputs: Sequence[str], profiles: Sequence[Profile]) -> Iterator[tuple[str, Schema]]:
    for profile in profiles:
        yield profile.input, _channel(profile.input, f"Records to compare, profile `{profile.name}`.", [profile.name])
    vectors = [profile.vectors_topic for profile in profiles]
    yield (
        "deadLetters",
        _channel("{input}.dlq", "Messages that a stage could not read.", ["deadLetter"])
        | {"parameters": {"input": {"enum": [*inputs, *vectors], "description": "The topic they were read from."}}},
    )
    yield (
        "vectors",
        _channel("vectors.{profile}", "Internal: encoded records, from encode to match.", ["vector"], compacted=True)
        | {"parameters": {"profile": {"enum": [profile.name for profile in profiles]}}},
    )
    yield "duplicate-events", _channel("duplicate-events", "What changed about a duplicate cluster.", ["clusterEvent"])
    yield (
        "duplicate-clusters",
        _channel("duplicate-clusters", "What is true now, per cluster.", ["clusterState"], compacted=True),
    )
    yield "possible-duplicates", _channel("possible-duplicates", "Pairs for a person to decide.", ["possibleEvent"])


def _channel(address: str, description: str, messages: Sequence[str], *, compacted: bool = False) -> Schema:
    channel: Schema = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if compacted:
        configuration = {"topicConfiguration": {"cleanup.policy": ["compact"]}}
        channel["bindings"] = {"kafka": {**configuration, "bindingVersion": _KAFKA_BINDING}}
    return channel


def _operations(inputs: Sequence[str]) -> Iterator[tuple[str, Schema]]:
    def operation(action: str, channel: str, summary: str) -> Schema:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}

    for topic in inputs:
        yield f"receive-{topic}", operation("receive", topic, "Encode each record.")
    yield "send-vectors", operation("send", "vectors", "Hand each encoded record to its matcher.")
    yield "receive-vectors", operation("receive", "vectors", "Match each encoded record.")
    yield "send-duplicate-events", operation("send", "duplicate-events", "Tell what changed.")
    yield "send-duplicate-clusters", operation("send", "duplicate-clusters", "Tell what is true now.")
    yield "send-possible-duplicates", operation("send", "possible-duplicates", "Ask a person.")
    yield "send-dead-letters", operation("send", "deadLetters", "Set aside what cannot be read.")


def _messages(profiles: Sequence[Profile]) -> Iterator[tuple[str, Schema]]:
    for profile in profiles:
        yield profile.name, _message(profile.name.capitalize(), "The record id.", _ref(profile.name))
    cloud_event = {"contentType": "application/cloudevents+json"}
    yield (
        "clusterEvent",
        _message("Cluster event", "The cluster id.", _ref("cluster-event"), _examples("cluster-event")) | cloud_event,
    )
    yield (
        "clusterState",
        _message("Cluster state", "The cluster id.", _ref("cluster-state"), [_example_state()])
        | {"description": "A null value: the cluster ended and nothing followed it."},
    )
    key = "`<record>|<record>`, both percent-encoded, the one that sorts first first."
    yield (
        "possibleEvent",
        _message("Possible duplicate", key, _ref("possible-event"), _examples("possible-event")) | cloud_event,
    )
    original = {
        "type": "string",
        "format": "binary",
        "description": "The original value, byte for byte; null stays null.",
    }
    yield (
        "deadLetter",
        _message("Dead letter", "The original key.", original)
        | {"contentType": "application/octet-stream", "headers": _ref("dead-letter")},
    )
    packed = {"type": "string", "format": "binary", "description": "MessagePack. Null erases the record."}
    texts = {
        SOURCE_HEADER: "`topic/partition/offset` of the input message; on a null value only.",
        INGESTED_HEADER: "Its timestamp, milliseconds since 1970; on a null value only.",
    }
    headers = {"type": "object", "properties": {k: {"type": "string", "description": d} for k, d in texts.items()}}
    yield (
        "vector",
        _message("Encoded record", "The record id.", packed)
        | {"contentType": "application/vnd.msgpack", "headers": headers},
    )


def _message(title: str, key: str, payload: Schema, examples: Sequence[Any] = ()) -> Schema:
    binding = {"key": {"type": "string", "description": key}, "bindingVersion": _KAFKA_BINDING}
    message: Schema = {"title": title, "payload": payload, "bindings": {"kafka": binding}}
    if examples:
        message["examples"] = [{"name": str(e.get("type", "state")), "payload": e} for e in examples]
    return message


def _ref(name: str) -> Schema:
    # No schemaFormat: what these schemas use of draft 2020-12 reads the same in AsyncAPI's own format, and tools that
    # know no other refuse a document that names one.
    return {"$ref": f"./schemas/{name}.schema.json"}


# examples


def _renderer() -> EventRenderer:
    return EventRenderer("signup", DEFAULT_SCOPE, "5d41402abc4b2a76")


def _examples(name: str) -> list[Any]:
    """Real events of a small story: two records meet, a third joins, one goes, and a pair is left to a person."""
    link = Match("s-1002", 0.97, duplicate=True, similarities={"text": 0.94}, contributions={"text": 3.5})
    doubt = Match("s-1004", 0.61, duplicate=False, similarities={"text": 0.81}, contributions={"text": 0.4})
    evidence = [Evidence("s-1001", "s-1002", link)]
    cid, first, pair = "c7d0e3a5b1f2946c8e0aa", "s-1001", ["s-1001", "s-1002"]
    stories: Mapping[str, Sequence[Change]] = {
        "cluster-event": [
            ClusterChange("created", cid, 1, pair, (), pair, first, evidence=evidence),
            ClusterChange("joined", cid, 2, ["s-1003"], (), [*pair, "s-1003"], first),
            ClusterChange("left", cid, 3, (), ["s-1003"], pair, first),
            ClusterChange("dissolved", cid, 4, (), pair, (), None),
        ],
        "possible-event": [PossibleChange("found", Evidence("s-1001", "s-1004", doubt))],
    }
    cause = Cause(Position("vectors.signup", 0, 41), Position("signups", 2, 7), 1_767_225_600_000)
    return [orjson.loads(_renderer().entry(change, cause).value) for change in stories[name]]


def _example_state() -> Any:
    members = {"s-1001": Member(1, 1.0), "s-1002": Member(2, 0.5)}
    cluster = Cluster("c7d0e3a5b1f2946c8e0aa", 3, 1, members, "s-1001")
    return orjson.loads(_renderer().state(cluster.id, cluster) or b"null")


# text


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice twice: anchors are for machines."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the base class names it
        return True


def _yaml(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return "# Generated by `python -m consumer.schemas docs`; edit the code instead.\n" + text


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and name the files that are stale.")
def main(folder: Path, check: bool) -> None:
    """Write the schemas and the AsyncAPI document into FOLDER."""
    if check:
        if names := stale(folder):
            click.echo(f"stale: {', '.join(str(folder / n) for n in names)}; run `make docs`", err=True)
            sys.exit(1)
        return
    for name, text in documents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
