"""The rights of `dedup acls` are all needed: without any one of them a role fails, and says that it may not."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import orjson
import pytest
from confluent_kafka import Producer
from redis import Redis
from redis.exceptions import NoPermissionError

from consumer.acls import Grant, kafka_grants, redis_rules
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.adapters.redis_clusters import RedisClusters
from consumer.doctor import examine
from consumer.encode import EncodeStage
from consumer.erasure.erase import prove_erasure, request_erasure
from consumer.errors import DedupError, StoreError
from consumer.explain import explain_stored
from consumer.letters.dead_letters import Choice
from consumer.letters.replay import Mailbox
from consumer.loop import result_of
from consumer.profile import Profile, load_profile
from consumer.records import Message, Outgoing, Position
from consumer.recovery.rebuild import rebuild
from consumer.recovery.verify import verify
from consumer.review import say
from consumer.settings import Settings, load_settings
from consumer.wiring import (
    build_encoders,
    build_inventory,
    build_match_stage,
    build_store,
    create_topics,
    topic_specs,
)
from consumer.workers import KafkaWorker, encode_worker, match_worker
from tests.factories import NOW_MS, person_profile, signup
from tests.secure_services import SecureKafka, SecureRedis

PATIENCE_SECONDS = 20.0
PASSWORD = "a-password-of-ours"
TOPICS = ("feedback", "events", "clusters", "possible")
PERSONS = {
    "ada-1": "Adaeze Brennan",
    "ada-2": "Adaeze Brennan",
    "ada-3": "Adaeze Brennan",
    "wil-1": "Wil",
    "wil-2": "Wil",
}
WORD = {"a": "wil-1", "b": "wil-2", "verdict": "different", "by": "Ann"}


class Place:
    """Topics, keys and users of one test, and settings that point there; all of its administrator unless changed."""

    def __init__(self, name: str, kafka: SecureKafka, redis: SecureRedis, folder: Path) -> None:
        self.name, self.kafka, self.redis, self.folder = name, kafka, redis, folder
        (folder / "profile.yaml").write_bytes(
            orjson.dumps(person_profile(name=name, input=f"{name}.in").model_dump(mode="json"))
        )
        self.profile = load_profile(str(folder / "profile.yaml"))
        self.encoders = build_encoders(self.settings(), self.profile)

    def settings(self, number: int = 0, **changes: object) -> Settings:
        """With a group, keys and a folder that no other number has."""
        own = f"{self.name}-{number}"
        return load_settings(
            None,
            {
                "profile": str(self.folder / "profile.yaml"),
                "kafka.bootstrap_servers": self.kafka.address,
                "kafka.properties": self.kafka.admin_properties,
                "kafka.group": own,
                **{f"topics.{n}": f"{self.name}.{n}" for n in TOPICS},
                "topics.partitions": 1,
                "redis.url": self.redis.admin_url,
                "redis.prefix": own,
                "matching.max_cluster_size": 2,  # so that the third of a kind is a question for a person
                "state.directory": self.folder / own,
                **changes,
            },
        )

    def send(self, messages: Sequence[Outgoing]) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.address, **self.kafka.admin_properties})
        for m in messages:
            producer.produce(m.topic, m.value, m.key, headers=[*m.headers.items()], partition=0)
        assert producer.flush(30) == 0

    def refusals(self, role: str, work: Callable[[Settings], object]) -> Mapping[Grant, str]:
        """What is said where one right of the role is missing. With all of them the work is done."""
        grants = kafka_grants(self.settings(), self.profile)[role]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda n: self._try(role, n, work), range(len(grants) + 1)))
        assert said[0] == "", said[0]
        return dict(zip(grants, said[1:], strict=True))

    def _try(self, role: str, missing: int, work: Callable[[Settings], object]) -> str:
        """The error without one right of the role, counted from 1; 0: with all of them."""
        user = f"{self.name}-{role}-{missing}"
        grants = kafka_grants(self.settings(missing), self.profile)[role]
        self.kafka.add_user(user, PASSWORD, [grant for n, grant in enumerate(grants, 1) if n != missing])
        try:
            work(self.settings(missing, **{"kafka.properties": self.kafka.properties(user, PASSWORD)}))
        except DedupError as error:
            return str(error)
        return ""


@pytest.fixture
def place(secure_kafka: SecureKafka, secure_redis: SecureRedis, unique: str, tmp_path: Path) -> Place:
    return Place(f"l{unique[-8:]}", secure_kafka, secure_redis, tmp_path)


def inputs(settings: Settings, profile: Profile) -> list[Message]:
    """Everything that makes a stage write: two clusters, a pair held back, a word and its end, what cannot be read."""
    feedback = settings.topics.feedback
    content: list[tuple[str, str, bytes | None]] = [
        *((profile.input, record, orjson.dumps(signup(name))) for record, name in PERSONS.items()),
        (feedback, "word", orjson.dumps({**WORD, "profile": profile.name})),
        (profile.input, "bad", b"no JSON"),
        (feedback, "bad", b"no JSON"),
        (profile.input, "wil-1", None),
    ]
    return [
        Message(Position(topic, 0, n), key.encode(), value, NOW_MS, {}) for n, (topic, key, value) in enumerate(content)
    ]


def vectors(place: Place) -> list[Outgoing]:
    """What the encoder makes of them."""
    stage = EncodeStage(place.encoders, 1, place.settings().topics.feedback)
    return [*result_of(stage, inputs(place.settings(), place.profile)).outgoing]


def turn(worker: KafkaWorker, messages: int) -> None:
    """Until so many messages are done. Raises what the worker raises."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while messages > 0:
            assert time.monotonic() < deadline, f"{messages} messages never came"
            messages -= worker.loop.turn()
    finally:
        worker.close()


def test_the_encoder_needs_each_of_its_rights(place: Place) -> None:
    create_topics(place.settings(), place.profile)
    sent = inputs(place.settings(), place.profile)
    place.send([Outgoing(m.position.topic, m.key, m.value, {}) for m in sent])
    said = place.refusals("encode", lambda s: turn(encode_worker(s, place.encoders, Event()), len(sent)))
    assert {grant: text for grant, text in said.items() if "refused" not in text} == {}


def test_the_matcher_needs_each_of_its_rights(place: Place) -> None:
    create_topics(place.settings(), place.profile)
    sent = [*vectors(place), Outgoing(place.profile.vectors_topic, b"bad", b"no vector")]
    place.send(sent)
    said = place.refusals("match", lambda s: turn(match_worker(s, place.encoders, Event()), len(sent)))
    assert {grant: text for grant, text in said.items() if "refused" not in text} == {}


def test_operators_need_each_of_their_rights(place: Place) -> None:
    def create(settings: Settings) -> None:
        """The first time without rights, then what is missing, then beside topics that are not as wanted."""
        outcomes = create_topics(settings, place.profile)
        wrong = [f"{name}: {outcome}" for name, outcome in outcomes if outcome != expected]
        if wrong:
            raise DedupError("; ".join(wrong))

    def heal(settings: Settings) -> None:
        faults = [f"{f.what}: {f.detail}" for f in examine(settings) if f.level == "fault"]
        if faults:
            raise DedupError("; ".join(faults))

    expected = "created"
    everything = kafka_grants(place.settings(), place.profile)
    assert {grant.name for grant in everything["topics"]} == {
        s.name for s in topic_specs(place.settings(), place.profile)
    }
    described = [grant for grant in everything["topics"] if grant.operation == "Describe"]
    place.kafka.add_user(f"{place.name}-blind", PASSWORD, described)
    blind = place.settings(0, **{"kafka.properties": place.kafka.properties(f"{place.name}-blind", PASSWORD)})
    assert all("refused" in outcome for _, outcome in create_topics(blind, place.profile))
    create(place.settings())

    expected = "exists with 1 partitions"
    said = place.refusals("topics", lambda s: create(load_more(s)))
    assert all(grant.name in text for grant, text in said.items() if grant.operation == "Describe")

    for role, work in {
        "erase": lambda s: request_erasure(s, "ada-1"),
        "feedback": lambda s: say(s, WORD),
        "doctor": heal,
    }.items():
        said = place.refusals(role, work)
        assert {grant: text for grant, text in said.items() if not text} == {}


def load_more(settings: Settings) -> Settings:
    """The same, with more partitions wanted than there are."""
    return settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 2})})


def test_recovery_does_its_work_with_its_rights(place: Place) -> None:
    create_topics(place.settings(), place.profile)
    sent = inputs(place.settings(), place.profile)
    place.send([Outgoing(m.position.topic, m.key, m.value, {}) for m in sent])
    turn(encode_worker(place.settings(), place.encoders, Event()), len(sent))
    turn(match_worker(place.settings(), place.encoders, Event()), len(sent) - 2)
    grants = kafka_grants(place.settings(), place.profile)["recover"]
    place.kafka.add_user(place.name, PASSWORD, grants)
    place.redis.set_user(place.name, PASSWORD, redis_rules(place.settings(), place.profile)["recover"])
    own = {
        "kafka.properties": place.kafka.properties(place.name, PASSWORD),
        "redis.url": place.redis.url(place.name, PASSWORD),
    }
    settings = place.settings(0, **own)

    def quietly(_: str, __: int, ___: int) -> None:
        """No progress is shown."""

    assert verify(settings, 0.0, quietly).differences == {}
    with Mailbox(settings) as mailbox:
        assert mailbox.look(Choice(), 10).counts.total() == 2
        assert mailbox.replay(Choice(), dry_run=False).replayed == 2
    assert rebuild(settings, replace=True, to_end=True, drop_missing=True, progress=quietly).records == 4
    assert verify(settings, 0.0, quietly).differences == {}
    assert prove_erasure(settings, "wil-1", 0.0, request=False).late == ""


# Redis


def lives(place: Place, settings: Settings, store: RedisClusters, messages: Sequence[Outgoing]) -> None:
    """A matcher's life on that store: it takes a partition over, and does everything there is to do."""
    with closing(build_inventory(settings, place.profile)) as inventory:
        inventory.require_whole()
        assert inventory.generation() == ""
    stage = build_match_stage(place.settings(), place.encoders, store, NoSnapshots())
    stage.assigned(0, len(messages))
    for n, m in enumerate(messages):
        result_of(stage, [Message(Position(m.topic, 0, n), m.key, m.value, NOW_MS, m.headers)])
        stage.delivered()
    if not settings.redis.cluster:
        for client in store._redis._connected().connection_pool._available_connections:
            client.next_health_check = 0.0  # as after 30 idle seconds
    result_of(stage, [])
    assert store.assignment("default", "ada-1") == store.assignment("default", "ada-2") is not None


def looks(store: RedisClusters) -> None:
    if store.check()["appendfsync"] is None:  # a hosted Redis forbids CONFIG: no reason to fail
        raise StoreError("not told how it is written to disk, for want of an ACL")


def tells(place: Place, settings: Settings) -> None:
    for names in (["ada-1", "ada-2"], ["ada-1"], ["ada-3"], ["gone"]):
        try:
            explain_stored(settings, names, None)
        except DedupError as error:
            if "gone" not in names or isinstance(error, StoreError):
                raise


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except StoreError as error:
        return str(error)
    return ""


def one_short(rules: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each rule, and the others."""
    return ((rule, [other for other in rules if other != rule]) for rule in rules)


@pytest.mark.parametrize("role", ["match", "explain", "doctor"])
def test_redis_users_need_each_of_their_rights(place: Place, role: str) -> None:
    messages = vectors(place)
    stored = place.settings(7)
    with closing(build_store(stored, place.profile)) as store:
        lives(place, stored, store, messages)
    rules = redis_rules(stored, place.profile)[role]

    def work(granted: Sequence[str]) -> str:
        place.redis.set_user(place.name, PASSWORD, granted)
        settings = place.settings(7, **{"redis.url": place.redis.url(place.name, PASSWORD)})
        with Redis.from_url(place.redis.admin_url) as client:
            client.script_flush()
            if role == "match":
                for key in client.scan_iter(f"{place.name}-7:*"):
                    client.delete(key)
        with closing(build_store(settings, place.profile)) as given:
            if role == "match":
                return refusal(lambda: lives(place, settings, given, messages))
            return refusal(lambda: tells(place, settings) if role == "explain" else looks(given))

    assert work(rules) == ""
    said = {rule: work(others) for rule, others in one_short(rules)}
    assert {rule: text for rule, text in said.items() if "ACL" not in text} == {}
    place.redis.set_user(place.name, PASSWORD, rules)
    with Redis.from_url(place.redis.url(place.name, PASSWORD)) as client, pytest.raises(NoPermissionError):
        client.get("another:key")


def test_a_client_of_a_redis_cluster_needs_two_rights_more(place: Place, redis_cluster_url: str) -> None:
    messages, address = vectors(place), redis_cluster_url.partition("://")[2]
    chosen = {"redis.url": f"redis://{place.name}:{PASSWORD}@{address}", "redis.cluster": True}

    def work(number: int, missing: str = "") -> str:
        settings = place.settings(number, **chosen)
        rules = [rule for rule in redis_rules(settings, place.profile)["match"] if rule != missing]
        with Redis.from_url(redis_cluster_url) as client:
            client.execute_command("ACL SETUSER", place.name, "reset", "on", f">{PASSWORD}", *rules)
        with closing(build_store(settings, place.profile)) as store:
            return refusal(lambda: lives(place, settings, store, messages))

    assert work(10) == ""
    assert work(11, "+cluster|slots") != ""  # redis-py takes it for a server that is no cluster
    assert "ACL" in work(12, "+command")
