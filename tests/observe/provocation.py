"""What provokes an alert."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deployment import PERSON
from tests.observe.scene import Scene


@dataclass(frozen=True, slots=True)
class Provocation:
    """What makes an alert fire, in a deployment with this profile and environment."""

    how: str
    run: Callable[[Scene], None]
    limit: tuple[str, str] | None = None
    """What stands in the alert's expression, and what stands there while it is provoked."""
    profile: Path = PERSON
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the profile."""
    environment: Mapping[str, str] = field(default_factory=dict)
