"""What people write by hand, read strictly: a name that sets nothing, or sets something twice, is reported, not ignored."""

import difflib
import re
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

_NAME = re.compile(r"[a-z0-9_.]{1,64}")
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
"""What `read_yaml` raises for text that is not YAML: a date that is none, `!!timestamp x`, a thousand brackets."""


class Strict(BaseModel):
    """A model with no names beside its own, whose numbers are finite and which does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class RepeatedNameError(yaml.constructor.ConstructorError):
    """A mapping has a name twice: one of the two would set nothing."""


class _Loader(yaml.SafeLoader):
    """YAML's own rule, which PyYAML leaves out: the names of a mapping are unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
                continue
            if name.value in seen:
                raise RepeatedNameError(None, None, "this name is given twice", name.start_mark)
            seen.add(name.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The one document of a text. Raises what is in NOT_YAML, also where a mapping has a name twice."""
    return yaml.load(text, _Loader)  # noqa: S506  # it is a SafeLoader


def describe_faults(what: str, error: ValidationError, model: type[BaseModel]) -> str:
    """All faults of a pydantic error of a model, one a line, without the values (they may be secrets).

    A name that does not look like one is left out too: `key:secret`, without a blank, is a name to YAML.
    """
    lines = [f"  {_place(fault['loc']) or '(whole)'}: {_said(fault, model)}" for fault in error.errors()]
    return "\n".join([f"{what}:", *lines])


def _said(fault: ErrorDetails, model: type[BaseModel]) -> str:
    if fault["type"] in {"model_type", "model_attributes_type"}:
        return "a mapping of names to values is wanted"
    if fault["type"] != "extra_forbidden":
        return fault["msg"].removeprefix("Value error, ")
    alike = difflib.get_close_matches(str(fault["loc"][-1]), _names(model) - {fault["loc"][-1]})
    return "there is no such name here" + (f"; is {' or '.join(alike)} meant?" if alike else "")


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    """All names that a model has, on every level."""
    schema = model.model_json_schema()
    return frozenset(
        name for part in (schema, *schema.get("$defs", {}).values()) for name in part.get("properties", ())
    )


def _place(names: Sequence[int | str]) -> str:
    return ".".join(str(name) if _NAME.fullmatch(str(name)) else "…" for name in names)
