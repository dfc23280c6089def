"""Which metrics, and which labels of them, a PromQL expression names; enough of the language for our own."""

import re
from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WINDOW = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"\b(?P<name>[a-z_][a-z0-9_]*)\s*(?:\{(?P<matchers>[^}]*)\}|(?![a-z0-9_]*\s*\())")
_MATCHER = re.compile(r"([a-z_]\w*)\s*[=!]")
_WORDS = {"and", "or", "unless", "bool", "offset"}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every (metric, labels that it is chosen by)."""
    bare = _WINDOW.sub("", _GROUPING.sub("", _STRING.sub("", expression)))
    for found in _SELECTOR.finditer(bare):
        if found["name"] not in _WORDS:
            yield found["name"], set(_MATCHER.findall(found["matchers"] or ""))


def grouped_by(expression: str) -> set[str]:
    """Every label that something is grouped or matched by."""
    lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}
