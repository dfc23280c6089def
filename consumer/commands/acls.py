"""`dedup acls`: the least rights with which this deployment works, ready to be given."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from consumer.acls import Grant, commands, kafka_grants, redis_rules
from consumer.commands.options import configured, print_json, with_settings
from consumer.profile import load_profile


@click.command("acls")
@click.option(
    "--users", default="dedup-", show_default=True, help="What the names of users begin with; the role follows."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rights as JSON.")
@with_settings
def acls(users: str, as_json: bool, profile: str | None, config: Path | None) -> None:
    """Print the Kafka ACLs and Redis users that these settings need, per role, and nothing more."""
    settings = configured(config, {"profile": profile, "log.level": "error"})
    chosen = load_profile(settings.profile)
    grants, rules = kafka_grants(settings, chosen), redis_rules(settings, chosen)
    if as_json:
        kafka = {f"{users}{role}": [asdict(grant) for grant in given] for role, given in grants.items()}
        print_json({"kafka": kafka, "redis": {f"{users}{role}": given for role, given in rules.items()}})
        return
    servers = settings.kafka.bootstrap_servers or "HOST:9092"
    click.echo("\n".join([*_kafka_lines(users, grants, servers), "", *_redis_lines(users, rules)]))


def _kafka_lines(users: str, grants: Mapping[str, Sequence[Grant]], servers: str) -> Iterator[str]:
    tool = ["kafka-acls.sh", "--bootstrap-server", servers, "--command-config", "admin.properties"]
    for role, given in grants.items():
        yield f"# Kafka: {role}"
        for call in commands(given, f"User:{users}{role}"):
            yield shlex.join([*tool, *call])


def _redis_lines(users: str, rules: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield "# Redis: lines of an ACL file; put the SHA-256 of a password in place of each <…>"
    for role, given in rules.items():
        yield f"user {users}{role} on #<sha256 of the password> {' '.join(given)}"
