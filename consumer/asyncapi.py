"""The AsyncAPI 3 description of every topic, and the example events it shows; written by `consumer.schemas`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from consumer.clusters import Change
from consumer.decode import DEFAULT_SCOPE
from consumer.events import EventRenderer
from consumer.feedback import FeedbackMessage
from consumer.names import dead_letter_topic
from consumer.profile import Profile
from consumer.records import Cause, Cluster, ClusterChange, Evidence, Match, Member, Position, PossibleChange, Verdict
from consumer.vectors import INGESTED_HEADER, SOURCE_HEADER

Schema = dict[str, Any]
_KAFKA_BINDING: Final = "0.5.0"


def describe(profiles: Sequence[Profile]) -> Schema:
    """The document; it refers to the schemas beside it."""
    inputs = [profile.input for profile in profiles]
    messages = dict(_messages(profiles))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Streaming duplicate detection",
            "version": "1.0.0",
            "description": "Records arrive, duplicate clusters leave. Topic names are the defaults. A subscriber that "
            "reads `read_committed` sees each event once; under `kafka.delivery: at_least_once` an event keeps its `id` when "
            "it is delivered again. Events of one cluster are in order; "
            "events of different clusters are not, so a record may join its new cluster before it leaves its old one.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": dict(_channels(inputs, profiles)),
        "operations": dict(_operations(inputs)),
        "components": {"messages": messages},
    }


def _channels(inputs: Sequence[str], profiles: Sequence[Profile]) -> Iterator[tuple[str, Schema]]:
    for profile in profiles:
        yield profile.input, _channel(profile.input, f"Records to compare, profile `{profile.name}`.", [profile.name])
    yield "duplicate-feedback", _channel("duplicate-feedback", "What people say of pairs.", ["feedback"])
    read = [*inputs, "duplicate-feedback", *(profile.vectors_topic for profile in profiles)]
    yield (
        "deadLetters",
        _channel(dead_letter_topic("{input}"), "Messages that a stage could not read.", ["deadLetter"])
        | {"parameters": {"input": {"enum": read, "description": "The topic they were read from."}}},
    )
    yield (
        "vectors",
        _channel(
            "vectors.{profile}",
            "Internal: encoded records and people's verdicts, from encode to match.",
            ["vector", "verdict"],
            compacted=True,
        )
        | {"parameters": {"profile": {"enum": [profile.name for profile in profiles]}}},
    )
    yield "duplicate-events", _channel("duplicate-events", "What changed about a duplicate cluster.", ["clusterEvent"])
    yield (
        "duplicate-clusters",
        _channel("duplicate-clusters", "What is true now, per cluster.", ["clusterState"], compacted=True),
    )
    yield "possible-duplicates", _channel("possible-duplicates", "Pairs for a person to decide.", ["possibleEvent"])


def _channel(address: str, description: str, messages: Sequence[str], *, compacted: bool = False) -> Schema:
    channel: Schema = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if compacted:
        configuration = {"topicConfiguration": {"cleanup.policy": ["compact"]}}
        channel["bindings"] = {"kafka": {**configuration, "bindingVersion": _KAFKA_BINDING}}
    return channel


def _operations(inputs: Sequence[str]) -> Iterator[tuple[str, Schema]]:
    def operation(action: str, channel: str, summary: str) -> Schema:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}

    for topic in inputs:
        yield f"receive-{topic}", operation("receive", topic, "Encode each record.")
    yield "receive-duplicate-feedback", operation("receive", "duplicate-feedback", "Hand on what a person says.")
    yield "send-vectors", operation("send", "vectors", "Hand each encoded record and each verdict to its matcher.")
    yield "send-ended-verdicts", operation("send", "vectors", "Forget what was said of a record that was erased.")
    yield "receive-vectors", operation("receive", "vectors", "Match each encoded record, obey each verdict.")
    yield "send-duplicate-events", operation("send", "duplicate-events", "Tell what changed.")
    yield "send-duplicate-clusters", operation("send", "duplicate-clusters", "Tell what is true now.")
    yield "send-possible-duplicates", operation("send", "possible-duplicates", "Ask a person.")
    yield "send-dead-letters", operation("send", "deadLetters", "Set aside what cannot be read.")


def _messages(profiles: Sequence[Profile]) -> Iterator[tuple[str, Schema]]:
    for profile in profiles:
        yield profile.name, _message(profile.name.capitalize(), "The record id.", _ref(profile.name))
    yield (
        "feedback",
        _message(
            "Feedback",
            "Any; words with one key keep their order, so use one for a pair: `<record>|<record>` as in "
            "`possible-duplicates`.",
            _ref("feedback"),
            [example_feedback()],
        ),
    )
    cloud_event = {"contentType": "application/cloudevents+json"}
    yield (
        "clusterEvent",
        _message("Cluster event", "The cluster id.", _ref("cluster-event"), example_events("cluster-event"))
        | cloud_event,
    )
    yield (
        "clusterState",
        _message("Cluster state", "The cluster id.", _ref("cluster-state"), [example_state()])
        | {"description": "A null value: the cluster ended and nothing followed it."},
    )
    key = "`<record>|<record>`, both percent-encoded, the one that sorts first first."
    yield (
        "possibleEvent",
        _message("Possible duplicate", key, _ref("possible-event"), example_events("possible-event")) | cloud_event,
    )
    original = {
        "type": "string",
        "format": "binary",
        "description": "The original value, byte for byte; null stays null.",
    }
    yield (
        "deadLetter",
        _message("Dead letter", "The original key.", original)
        | {"contentType": "application/octet-stream", "headers": _ref("dead-letter")},
    )
    packed = {"type": "string", "format": "binary", "description": "MessagePack. Null erases the record."}
    texts = {
        SOURCE_HEADER: "`topic/partition/offset` of the input message; on a null value only.",
        INGESTED_HEADER: "Its timestamp, milliseconds since 1970; on a null value only.",
    }
    headers = {"type": "object", "properties": {k: {"type": "string", "description": d} for k, d in texts.items()}}
    yield (
        "vector",
        _message("Encoded record", "The record id.", packed)
        | {"contentType": "application/vnd.msgpack", "headers": headers},
    )
    pair = "The byte 255, then MessagePack [scope, a, b]: one for a pair, whatever is said of it."
    said = {
        "type": "string",
        "format": "binary",
        "description": "MessagePack: what was said, by whom, when. Null, from match: it ended with one of the records.",
    }
    yield "verdict", _message("Verdict", pair, said) | {"contentType": "application/vnd.msgpack"}


def _message(title: str, key: str, payload: Schema, examples: Sequence[Any] = ()) -> Schema:
    binding = {"key": {"type": "string", "description": key}, "bindingVersion": _KAFKA_BINDING}
    message: Schema = {"title": title, "payload": payload, "bindings": {"kafka": binding}}
    if examples:
        message["examples"] = [
            {"name": str(e.get("type") or e.get("verdict") or "state"), "payload": e} for e in examples
        ]
    return message


def _ref(name: str) -> Schema:
    # No schemaFormat: what these schemas use of draft 2020-12 reads the same in AsyncAPI's own format, and tools that
    # know no other refuse a document that names one.
    return {"$ref": f"./schemas/{name}.schema.json"}


def _renderer() -> EventRenderer:
    return EventRenderer("signup", DEFAULT_SCOPE, "5d41402abc4b2a76")


def example_events(name: str) -> list[Any]:
    """Real events of a small story: two records meet, a third joins, a person sends one away, a pair is left to decide."""
    link = Match("s-1002", 0.97, duplicate=True, similarities={"text": 0.94}, contributions={"text": 3.5})
    doubt = Match("s-1004", 0.61, duplicate=False, similarities={"text": 0.81}, contributions={"text": 0.4})
    evidence = [Evidence("s-1001", "s-1002", link)]
    said = Position("duplicate-feedback", 0, 3)
    word = Verdict(
        "s-1001", "s-1003", "different", "ana@example.com", 1_767_225_500_000, DEFAULT_SCOPE, said, 1_767_225_500_000
    )
    cid, first, pair = "c7d0e3a5b1f2946c8e0aa", "s-1001", ["s-1001", "s-1002"]
    stories: Mapping[str, Sequence[Change]] = {
        "cluster-event": [
            ClusterChange("created", cid, 1, pair, (), pair, first, evidence=evidence),
            ClusterChange("joined", cid, 2, ["s-1003"], (), [*pair, "s-1003"], first),
            ClusterChange("split", cid, 3, (), ["s-1003"], pair, first, verdicts=[word]),
            ClusterChange("updated", cid, 4, (), (), pair, "s-1002"),
            ClusterChange("exemplar_changed", cid, 5, (), (), pair, "s-1002", previous_exemplar=first),
            ClusterChange("dissolved", cid, 6, (), pair, (), None),
        ],
        "possible-event": [PossibleChange("found", Evidence("s-1001", "s-1004", doubt))],
    }
    cause = Cause(Position("vectors.signup", 0, 41), Position("signups", 2, 7), 1_767_225_600_000)
    return [orjson.loads(_renderer().entry(change, cause).value) for change in stories[name]]


def example_state() -> Any:
    members = {"s-1001": Member(1, 1.0), "s-1002": Member(2, 0.5)}
    cluster = Cluster("c7d0e3a5b1f2946c8e0aa", 3, 1, members, "s-1001")
    return orjson.loads(_renderer().state(cluster.id, cluster) or b"null")


def example_feedback() -> FeedbackMessage:
    """A person looked at the pair that was left to one."""
    return {
        "a": "s-1001",
        "b": "s-1004",
        "verdict": "different",
        "by": "Ana, data quality",
        "profile": "signup",
        "at": "2026-01-02T09:30:00.000Z",
    }
