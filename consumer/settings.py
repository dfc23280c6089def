"""Settings: one frozen tree, read once from defaults < file < `DEDUP_*` environment < command line.

Two underscores separate levels: `DEDUP_KAFKA__BOOTSTRAP_SERVERS`. All faults are reported at once. Secrets are
`SecretStr`, so that printing a tree never shows one. The groups are in `consumer.sections`.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as EnvironmentSettingsError

from consumer.errors import SettingsError
from consumer.sections import (
    HttpSettings,
    ImageSettings,
    IndexSettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    MatchingSettings,
    ModelSettings,
    PrivacySettings,
    RedisSettings,
    StateSettings,
    TopicSettings,
)
from consumer.strict import NOT_YAML, RepeatedNameError, describe_faults, read_yaml

_PREFIX = "DEDUP_"


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    profile: str = Field(default="signup", description="`signup`, `listing`, or a path to a profile.")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    redis: RedisSettings = RedisSettings()
    models: ModelSettings = ModelSettings()
    images: ImageSettings = ImageSettings()
    index: IndexSettings = IndexSettings()
    matching: MatchingSettings = MatchingSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitSettings = LimitSettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load_settings` lays file, environment and command line over each other."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load_settings(config: Path | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the tree. `overrides` (from the command line) are dotted keys and win over everything.

    Raises SettingsError naming every fault with its key.
    """
    mistaken = _mistaken(os.environ)
    try:
        environment = EnvSettingsSource(Settings)()
        layers = _over(_read_file(config), environment)
        for dotted, value in (overrides or {}).items():
            layers = _replaced(layers, dotted.split("."), value)
        settings = Settings(**layers)
    except EnvironmentSettingsError:
        raise SettingsError("\n".join(["settings:", *_unread(), *mistaken])) from None
    except ValidationError as error:
        raise SettingsError("\n".join([describe_faults("settings", error, Settings), *mistaken])) from None
    if mistaken:
        raise SettingsError("\n".join(["settings:", *mistaken]))
    return settings


def _unread() -> list[str]:
    """Variables that hold a list or a mapping, and not as JSON."""
    faults, source = [], EnvSettingsSource(Settings)
    for name, value in sorted(source.env_vars.items()):
        source.env_vars = {name: value}
        try:
            source()
        except EnvironmentSettingsError:
            faults.append(f'  {name.upper()}: lists and mappings are JSON in the environment: ["…"], {{"…": "…"}}')
    return faults


def _mistaken(environment: Mapping[str, str]) -> list[str]:
    """Variables that are meant for the tree and would set nothing: of no section, or with one underscore for two.

    An orchestrator has names of its own there, such as DEDUP_SERVICE_HOST, or DEDUP_HTTP_PORT=tcp://… where a service is called
    dedup-http.
    """
    sections = {name.upper(): field.annotation for name, field in Settings.model_fields.items()}
    faults = []
    for name, value in sorted(environment.items()):
        section, two, key = name.upper().removeprefix(_PREFIX).partition("__")
        if not name.upper().startswith(_PREFIX):
            continue
        if two and not hasattr(sections.get(section), "model_fields"):
            faults.append(f"  {name}: there is no section {section.lower()}")
        elif not two and not value.startswith("tcp://"):
            section, _, key = section.partition("_")
            if key.lower() in getattr(sections.get(section), "model_fields", ()):
                faults.append(f"  {name}: two underscores separate levels, {_PREFIX}{section}__{key}")
            elif not key and section not in sections and difflib.get_close_matches(section, sections, cutoff=0.8):
                faults.append(f"  {name}: there is no such setting")
    return faults


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` laid over `lower`, mapping by mapping."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _replaced(tree: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    """The tree with one value replaced, whole."""
    name, *rest = path
    below = tree.get(name)
    return {**tree, name: _replaced(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def _read_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = read_yaml(config.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        # nothing of the file itself: what stands there may be a secret
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # one of ours says what is wrong, and quotes nothing
        why = f": {error.problem}" if isinstance(error, RepeatedNameError) else ""
        raise SettingsError(f"settings file {config} is not YAML{place}{why}") from None
    except OSError as error:
        raise SettingsError(f"settings file {config} cannot be read: {error}") from error
    except NOT_YAML:  # also what is not UTF-8
        raise SettingsError(f"settings file {config} is not YAML in UTF-8") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(f"settings file {config}: a mapping of settings is wanted")
    return content
