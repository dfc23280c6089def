"""The list of rights beside the topics that are made, what `dedup acls` prints of it, and what docs/security.md says."""

import json

from click.testing import CliRunner

from consumer.__main__ import cli
from consumer.acls import Grant, kafka_grants, redis_rules
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.wiring import topic_specs
from tests.services import ROOT

DOCS = ROOT / "docs" / "security.md"


def test_the_rights_name_every_topic_and_no_other() -> None:
    settings = load_settings(None, {"topics.feedback": "words", "kafka.group": "acme"})
    profile = load_profile("listing")
    grants = kafka_grants(settings, profile)
    topics = {spec.name for spec in topic_specs(settings, profile)}
    assert {g.name for given in grants.values() for g in given if g.resource == "topic"} == topics
    groups = {role: [g.name for g in given if g.resource == "group"] for role, given in grants.items()}
    assert (groups["encode"], groups["match"]) == (["acme.listing.encode"], ["acme.listing.match"])


def test_transactions_are_granted_where_they_are_used() -> None:
    profile = load_profile("signup")
    one = Grant("transactional-id", "dedup.signup.match.", "Write", prefixed=True)
    assert one in kafka_grants(load_settings(), profile)["match"]
    plain = kafka_grants(load_settings(None, {"kafka.delivery": "at_least_once"}), profile)
    assert one not in plain["match"]


def test_keys_of_other_profiles_and_prefixes_are_out_of_reach() -> None:
    rules = redis_rules(load_settings(None, {"redis.prefix": "acme"}), load_profile("signup"))["match"]
    assert [rule for rule in rules if rule.startswith("~")] == ["~acme:{signup}:*", "~acme:{signup/*"]
    assert not any(rule.startswith(("+@", "allkeys", "allcommands")) for rule in rules)


def test_the_documentation_shows_what_is_printed() -> None:
    printed = CliRunner().invoke(cli, ["acls"])
    assert printed.exit_code == 0
    assert f"$ dedup acls\n{printed.stdout}```" in DOCS.read_text()


def test_the_same_as_json_for_users_of_other_names() -> None:
    told = json.loads(CliRunner().invoke(cli, ["acls", "--users", "acme.", "--json"]).stdout)
    assert {"acme.encode", "acme.match", "acme.topics"} <= told["kafka"].keys()
    assert {"acme.match", "acme.explain"} <= told["redis"].keys()
    assert told["kafka"]["acme.feedback"] == [
        {"resource": "topic", "name": "duplicate-feedback", "operation": "Write", "prefixed": False}
    ]
