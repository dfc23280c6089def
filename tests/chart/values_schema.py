"""The part of the chart's values schema that is the settings: generated, the rest is written by hand.

`python -m tests.chart.values_schema` puts `config`, as `consumer.settings` has it, into values.schema.json.
"""

import json
from pathlib import Path
from typing import Any, Final

from consumer.settings import Settings

Schema = dict[str, Any]
FILE: Final = Path(__file__).parents[2] / "deploy" / "helm" / "dedup-consumer" / "values.schema.json"

SET_BY_CHART: Final = ("http", "kafka.instance", "state.directory", "topics.create")
"""What follows from the pods' names, volumes and ports, and from the Job that makes the topics."""
SECRET: Final = ("privacy", "redis.url")
"""What a ConfigMap must not hold."""
_NEEDED: Final = ("profile", "kafka.bootstrap_servers", "kafka.group", "topics.partitions", "limits.drain_seconds")
"""What the templates themselves read; values.yaml has it, and a `null` must not take it away."""
_PROPERTY: Final = r"^[a-z][a-z0-9.]*$"
"""Name of a librdkafka property."""
_SECRET_PROPERTY: Final = r"(password|passphrase|secret|key\.pem)$"
"""These come by `kafka.secretKeys`."""


def current() -> Schema:
    """The whole schema as it should be."""
    schema: Schema = json.loads(FILE.read_text(encoding="utf-8"))
    schema["properties"]["config"] = _config()
    return schema


def written(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _config() -> Schema:
    tree = Settings.model_json_schema()
    schema: Schema = _inlined(tree, tree["$defs"])
    for dotted in (*SET_BY_CHART, *SECRET):
        group, name = _place(schema, dotted)
        del group["properties"][name]
    for dotted in _NEEDED:
        group, name = _place(schema, dotted)
        group.setdefault("required", []).append(name)
    for name in ("properties", "consumer", "producer"):
        properties = schema["properties"]["kafka"]["properties"][name]
        properties["patternProperties"] = {_PROPERTY: properties["additionalProperties"], _SECRET_PROPERTY: False}
        properties["additionalProperties"] = False
    schema["description"] = (
        "The settings of the service; what the chart sets itself and what is secret is not among them."
    )
    schema["required"] = ["kafka", "topics", "limits", *schema["required"]]
    return schema


def _place(schema: Schema, dotted: str) -> tuple[Schema, str]:
    *groups, name = dotted.split(".")
    for group in groups:
        schema = schema["properties"][group]
    return schema, name


def _inlined(part: Any, definitions: Schema) -> Any:
    """Without references, and without what tells a user nothing: titles, defaults, formats of strings."""
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if part.get("format") == "password":  # the value of a property: numbers and booleans of YAML are taken as text
        return {"type": ["string", "number", "boolean"]}
    return {
        name: {key: _inlined(inner, definitions) for key, inner in value.items()}
        if name == "properties"
        else _inlined(value, definitions)
        for name, value in part.items()
        if name not in {"$defs", "default", "format", "title"}
    }


if __name__ == "__main__":
    FILE.write_text(written(current()), encoding="utf-8", newline="\n")
