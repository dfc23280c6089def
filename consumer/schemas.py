"""The contract as documents: JSON Schemas, the AsyncAPI description and the settings, generated from the code that keeps it.

`python -m consumer.schemas docs` writes them, and with `--check` fails when they differ from the code. The same code
gives the same bytes.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NotRequired, get_args

import click
import orjson
import yaml
from pydantic import Field, SecretStr, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict, override

from consumer import asyncapi
from consumer.asyncapi import Schema, example_events
from consumer.decode import MAX_ID_CHARS, MAX_IMAGE_BYTES, MAX_TEXT_CHARS, MAX_TIMESTAMPS, MAX_URI_CHARS
from consumer.events import CloudEvent, ClusterEventData, ClusterState, PossibleEventData
from consumer.feedback import FeedbackMessage
from consumer.profile import BUILT_IN, FieldSpec, Profile, load_profile
from consumer.records import ClusterEventKind
from consumer.settings import Settings

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_FIELDS: Final[Mapping[str, Schema]] = {
    "text": {"type": ["string", "number", "null"], "description": f"Text; read up to {MAX_TEXT_CHARS:,} characters."},
    "number": {
        "type": ["number", "string", "null"],
        "description": "A number, or text that holds one (`1,299.00`); other text counts as missing.",
    },
    "image": {
        "type": ["string", "null"],
        "contentEncoding": "base64",
        "description": "A picture's file (JPEG, PNG, WebP, GIF, BMP or TIFF) in base64, standard or URL-safe, with or "
        f"without a `data:image/…;base64,` before it; up to {MAX_IMAGE_BYTES // 1024**2} MiB of file. One that cannot "
        "be read counts as missing.",
    },
    "uri": {
        "type": ["string", "null"],
        "maxLength": MAX_URI_CHARS,
        "description": "Where the picture is: `https:`, `http:`, `s3:` or `file:`, read if the setting `images.allow` "
        "covers it and no picture is inline. One that is not allowed, not found or too large counts as missing.",
    },
    "timestamps": {
        "type": ["array", "string", "null"],
        "items": {"type": "string"},
        "description": f"ISO 8601 times, oldest first; the last {MAX_TIMESTAMPS:,} are read. UTC where no zone is given.",
    },
}
"""What each type of field accepts; dates are described by their order."""

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
        "dedup-payload-sha256": NotRequired[
            Annotated[
                str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its value; left out for a null value.")
            ]
        ],
        "dedup-left-out": NotRequired[
            Annotated[
                str,
                Field(
                    pattern="^[0-9]+$",
                    description="Bytes of its value, where the message is larger than any topic takes uncompressed: its value "
                    "and headers are not in the letter, and no replay sends it again.",
                ),
            ]
        ],
    },
)
DeadLetterHeaders.__doc__ = (
    "Headers of a dead letter, each UTF-8 text; the headers the message came with are kept beside them. Key and value "
    "are the original bytes; `dedup dlq replay` sends them to `dedup-topic` again."
)


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat the name of a field."""

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def documents() -> dict[str, str]:
    """Every generated file: path under the docs folder → text. Raises SettingsError for a faulty profile."""
    profiles = [load_profile(name) for name in BUILT_IN]
    schemas = {
        "cluster-event": _event_schema("cluster-event", "dedup.cluster", get_args(ClusterEventKind), ClusterEventData),
        "possible-event": _event_schema("possible-event", "dedup.possible", ("found", "withdrawn"), PossibleEventData),
        "cluster-state": _schema(ClusterState, "cluster-state"),
        "dead-letter": _schema(DeadLetterHeaders, "dead-letter"),
        "feedback": _schema(FeedbackMessage, "feedback"),
        "profile": _schema(Profile, "profile"),
        **{profile.name: _input_schema(profile) for profile in profiles},
    }
    texts = {f"schemas/{name}.schema.json": _json(schema) for name, schema in schemas.items()}
    return {**texts, "settings.md": _settings_reference(), "asyncapi.yaml": _yaml(asyncapi.describe(profiles))}


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
    properties["id"] |= {"examples": [event["id"] for event in example_events(name)]}
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
    if spec.type == "date":
        last = "day, month, year" if spec.day_first else "month, day, year"
        return {
            "type": ["string", "number", "null"],
            "description": f"A date: `1905-07-03`, `19050703`, or {last} with dots, dashes or slashes; a month (`1905-07`) or a "
            "year. Other text counts as missing.",
        }
    return _FIELDS[spec.type]


# settings


def _settings_reference() -> str:
    """A table of every setting: key, environment variable, default, meaning."""
    lines = [
        "# Settings",
        "",
        "Generated by `make docs` from `consumer/sections.py`. The order of precedence is command line, environment, the",
        "YAML file given with `--config`, default. In the file, a key `kafka.group` is `group` under `kafka`. A name that",
        "would set nothing is refused: an unknown key, a variable with one underscore where two belong. Lists and mappings are",
        "JSON in the environment: `DEDUP_IMAGES__ALLOW='[\"https://cdn.example.com/\"]'`.",
        "",
        "| key | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, group in Settings.model_fields.items():
        inner = getattr(group.annotation, "model_fields", None)
        fields = {f"{name}.{key}": spec for key, spec in inner.items()} if inner else {name: group}
        for key, spec in fields.items():
            variable = "DEDUP_" + key.replace(".", "__").upper()
            default = spec.get_default(call_default_factory=True, validated_data={})
            shown = default.get_secret_value() if isinstance(default, SecretStr) else default
            text = "" if shown in (None, "", {}) else f"`{shown}`"
            lines.append(f"| `{key}` | `{variable}` | {text} | {spec.description} |")
    return "\n".join(lines) + "\n"


# text


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice twice: anchors are for machines."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
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
