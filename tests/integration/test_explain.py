"""`dedup explain` as a person calls it: over a Redis that the real stages filled, and over files."""

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import yaml

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.batch import MemoryPipeline
from consumer.encode import EncoderSet
from consumer.errors import SettingsError
from consumer.explain import explain_files, explain_names, explain_stored
from consumer.explanation import ClusterExplanation, FilesExplanation, PairExplanation, Place
from consumer.links import Link
from consumer.prose import text_of
from consumer.records import Outgoing
from consumer.settings import Settings, load_settings
from consumer.simulate import signups
from consumer.wiring import build_encoders, build_store
from tests.command_line import assert_refused, dedup
from tests.deployment import PERSON
from tests.factories import NOW_MS, person_profile, signup

PLACE = Place("person", "default")
RECORDS = [(s.id, s.value) for s in signups(160, seed=4, duplicate_share=0.6)]


@pytest.fixture(scope="module")
def encoders() -> EncoderSet:
    return build_encoders(load_settings(), person_profile())


@pytest.fixture
def settings(redis_url: str, unique: str) -> Settings:
    return load_settings(overrides={"redis.url": redis_url, "redis.prefix": unique, "matching.max_cluster_size": 4})


@pytest.fixture
def redis(settings: Settings, encoders: EncoderSet) -> Iterator[RedisClusters]:
    """A store that the stages filled with `RECORDS`."""
    store = build_store(settings, encoders.profile)
    fill(settings, encoders, store)
    yield store
    store.close()


def fill(settings: Settings, encoders: EncoderSet, store: RedisClusters | MemoryClusters) -> None:
    pipeline = MemoryPipeline(settings, encoders, store)
    values = [(record_id, orjson.dumps(value)) for record_id, value in RECORDS]
    pipeline.feed([Outgoing("persons", r.encode(), value, {}, None, NOW_MS + i) for i, (r, value) in enumerate(values)])


def explain(settings: Settings, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "DEDUP_PROFILE": str(PERSON),
        "DEDUP_REDIS__URL": settings.redis.url.get_secret_value(),
        "DEDUP_REDIS__PREFIX": settings.redis.prefix,
    }
    return dedup("explain", *arguments, **environment)


def sums_up(link: Link) -> bool:
    """Whether a link's contributions come to its probability, to the rounding of both."""
    if link.probability is None or link.log_odds is None:
        return False
    return abs(1 / (1 + math.exp(-link.log_odds)) - link.probability) < 3e-4


def test_redis_and_memory_tell_the_same_of_everything(
    settings: Settings, encoders: EncoderSet, redis: RedisClusters
) -> None:
    memory = MemoryClusters()
    fill(settings, encoders, memory)
    rules = set()
    for record_id, _ in RECORDS:
        told = explain_names(redis, PLACE, [record_id], 0.5)
        assert told == explain_names(memory, PLACE, [record_id], 0.5)
        links = told.links if not isinstance(told, PairExplanation) else []
        if isinstance(told, ClusterExplanation):
            links = [*links, *(branch.link for branch in told.tree if branch.link)]
            assert sorted(branch.id for branch in told.tree) == sorted(member.id for member in told.members)
            assert len([branch for branch in told.tree if branch.link is None]) == 1, "one tree holds it together"
        assert all(map(sums_up, links))
        for link in links:
            pair = explain_names(redis, PLACE, [link.a, link.b], 0.5)
            assert pair == explain_names(memory, PLACE, [link.a, link.b], 0.5)
            assert isinstance(pair, PairExplanation)
            assert pair.link == link
            rules.add(pair.rule)
    assert rules >= {"threshold", "possible", "quorum", "size_cap"}


def test_a_pair_and_a_cluster_from_the_command_line(settings: Settings, redis: RedisClusters) -> None:
    cluster_id = next(cid for r, _ in RECORDS if (cid := redis.assignment("default", r)))
    done = explain(settings, cluster_id, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["id"] == cluster_id
    assert told["keep"] in [member["id"] for member in told["members"]]
    one, other = (member["id"] for member in told["members"][:2])
    assert f"{one} and {other} are one: cluster {cluster_id} in person/default" in explain(settings, one, other).stdout


def test_what_cannot_be_explained_is_one_message(settings: Settings, redis: RedisClusters, tmp_path: Path) -> None:
    assert_refused(explain(settings, "nobody"), "nobody: neither a cluster nor a record of person/default")
    assert_refused(explain(settings, "nobody", "no-one"), "nobody and no-one: no record of person/default")
    assert_refused(explain(settings), "name two records", code=2)
    assert_refused(explain(settings, "a", "--files", "/", "/"), "is a directory", code=2)
    with pytest.raises(SettingsError, match="--scope: 'no/scope' is none"):
        explain_stored(settings, ["a"], "no/scope")
    scoped = {**yaml.safe_load(PERSON.read_text()), "scope": "city"}
    (tmp_path / "scoped.yaml").write_text(yaml.safe_dump(scoped))
    with pytest.raises(SettingsError, match=r"keeps scopes apart \(field city\): name one with --scope"):
        explain_stored(settings.model_copy(update={"profile": str(tmp_path / "scoped.yaml")}), ["a"], None)


def judged(left: object, right: object, folder: Path, profile: Path = PERSON) -> FilesExplanation:
    """What is said of two files; an object is written as JSON, text as it is."""
    for name, value in (("left", left), ("right", right)):
        (folder / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
    settings = load_settings(overrides={"profile": str(profile)})
    return explain_files(settings, folder / "left.json", folder / "right.json")


def test_two_files_are_judged_without_a_store(tmp_path: Path) -> None:
    told = judged(signup("Ada Lovelace"), {"id": "r2", "name": "Ada Lovelase", "city": "LONDON"}, tmp_path)
    assert (told.outcome, told.rule, told.not_compared) == ("duplicate", "threshold", ["behaviour", "device"])
    assert told.keep == told.left.id == str(tmp_path / "left.json")
    assert told.link is not None
    assert sums_up(told.link)
    files = tmp_path / "left.json", tmp_path / "right.json"
    done = dedup("explain", "--files", *files, "--profile", PERSON)
    assert (done.returncode, done.stdout) == (0, "\n".join(text_of(told)) + "\n")
    assert "not there in both, so not compared: behaviour, device" in done.stdout


def test_two_files_that_are_different_are_explained_all_the_same(tmp_path: Path) -> None:
    ada = signup("Ada Lovelace")
    told = judged(ada, signup("Grace Hopper", "New York"), tmp_path)
    assert (told.outcome, told.rule) == ("different", "different")
    assert told.link is not None
    assert (told.link.log_odds or 0) < 0
    assert sums_up(told.link)
    told = judged(ada, {"city": "London"}, tmp_path)
    assert (told.outcome, told.rule) == ("possible", "min_evidence")
    told = judged(ada, {}, tmp_path)
    assert (told.rule, told.link) == ("nothing_shared", None)
    assert any("nothing is there in both" in line for line in text_of(told))
    scoped = tmp_path / "scoped.yaml"
    scoped.write_text(yaml.safe_dump({**yaml.safe_load(PERSON.read_text()), "scope": "city"}))
    assert judged(ada, signup("Ada Lovelace", "Leeds"), tmp_path, scoped).rule == "other_scope"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "right.json: not JSON"),
        ("[]", "right.json: a JSON object is wanted"),
        ('{"name": ["x"]}', "right.json: name: text is wanted, this is a list"),
        ('{"id": 7}', "right.json: the value's id differs"),
    ],
)
def test_a_file_that_is_no_record_is_one_message(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        judged({}, text, tmp_path)
