"""`dedup topics`: the topics that a profile uses, made here or shown to those who make them by other means."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.commands.options import configured, print_json, with_settings
from consumer.profile import load_profile

if TYPE_CHECKING:
    from consumer.adapters.kafka_topics import TopicSpec


@click.group()
def topics() -> None:
    """Manage the topics of a profile."""


@topics.command("create")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def create(as_json: bool, profile: str | None, config: Path | None) -> None:
    """Create the topics that are missing, as the settings say."""
    from consumer.wiring import create_topics

    settings = configured(config, {"profile": profile})
    outcomes = create_topics(settings, load_profile(settings.profile))
    if as_json:
        print_json(dict(outcomes))
    else:
        for name, outcome in outcomes:
            click.echo(f"{name}: {outcome}")
    if any(outcome.startswith("error") for _, outcome in outcomes):
        raise click.exceptions.Exit(1)


@topics.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print the topics as JSON.")
@with_settings
def show(as_json: bool, profile: str | None, config: Path | None) -> None:
    """Print the commands that would create the topics, for who makes them by other means; no broker is asked."""
    from consumer.wiring import topic_specs

    settings = configured(config, {"profile": profile, "log.level": "error"})
    specs = topic_specs(settings, load_profile(settings.profile))
    if as_json:
        print_json([asdict(spec) for spec in specs])
        return
    servers = settings.kafka.bootstrap_servers or "HOST:9092"
    for spec in specs:
        click.echo(shlex.join(_call(spec, servers)))


def _call(spec: "TopicSpec", servers: str) -> Sequence[str]:
    tool = ["kafka-topics.sh", "--bootstrap-server", servers, "--create", "--if-not-exists", "--topic", spec.name]
    # of a number that is not given the broker has a default
    replicas = ["--replication-factor", str(spec.replication)] if spec.replication > 0 else []
    settings = [word for key, value in spec.config.items() for word in ("--config", f"{key}={value}")]
    return [*tool, "--partitions", str(spec.partitions), *replicas, *settings]
