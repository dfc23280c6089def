"""The wire schema of what leaves: CloudEvents 1.0, structured JSON. Kept apart from the inner types on purpose.

The TypedDicts below are the contract: `consumer.schemas` turns them into the JSON Schemas and the AsyncAPI document
under `docs/`. An event depends on nothing but the change it tells of, so a replay renders the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired
from urllib.parse import quote

import orjson
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from consumer.clusters import Change
from consumer.records import (
    Cause,
    Cluster,
    ClusterChange,
    ClusterEventKind,
    Evidence,
    OutboxEntry,
    PossibleChange,
    Retired,
    Saying,
    Verdict,
)

MEMBERS_SHOWN = 100
"""An event lists the members up to this many; the compacted topic always has them all."""

Profile = Annotated[str, Field(description="Name of the profile the records were compared under.")]
Scope = Annotated[str, Field(description="The set of records that are compared with each other.")]
ClusterId = Annotated[str, Field(description="Opaque; no id is ever used for two clusters.")]
Version = Annotated[
    int, Field(ge=1, description="1 for the first event of a cluster, then one more each: a gap means a missed event.")
]
RecordToKeep = Annotated[str | None, Field(description="The member to keep; null when the cluster ended.")]
Config = Annotated[str, Field(description="Digest of the profile and the models that decided.")]


class EvidenceData(TypedDict):
    """Why two records were linked."""

    a: Annotated[str, Field(description="Record id; of the two the one that sorts first.")]
    b: Annotated[str, Field(description="The other record id.")]
    probability: Annotated[float, Field(ge=0, le=1, description="Calibrated probability that both are the same.")]
    similarities: Annotated[dict[str, float], Field(description="Cosine per modality that both records have.")]
    contributions: Annotated[
        dict[str, float], Field(description="Log-odds that each modality added to, or took from, the probability.")
    ]
    held: NotRequired[
        Annotated[
            str,
            Field(
                description="Why records this alike were not joined: `size_cap`; `quorum`: too few of the pairs between "
                "their groups are duplicates; `weak_bridge`: the middles of their groups are not alike; `ruled_apart`: a "
                "person said that records of their groups differ; `ambiguous`: one could join either of two groups that a "
                "person keeps apart."
            ),
        ]
    ]


class VerdictData(TypedDict):
    """What a person said of two records."""

    a: Annotated[str, Field(description="Record id; of the two the one that sorts first.")]
    b: Annotated[str, Field(description="The other record id.")]
    verdict: Saying
    by: Annotated[str, Field(description="Who said so.")]
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="When, in UTC.")]


class ClusterEventData(TypedDict):
    """A change of one duplicate cluster. Apply versions of a cluster in order; skip those already seen."""

    profile: Profile
    scope: Scope
    kind: Annotated[
        ClusterEventKind,
        Field(
            description="`created`; `joined`: records came; `left`: one went; `merged`: took in the members of other "
            "clusters; `split`: lost records, or began as a part of another cluster; `updated`: same members, one was "
            "compared again; `exemplar_changed`: the event before changed the record to keep, and nothing else happened "
            "since; `dissolved`: ended."
        ),
    ]
    cluster_id: ClusterId
    version: Version
    added: Annotated[
        list[str],
        Field(
            description="Records that are members now and were not before. One may come from another cluster, whose "
            "own event, read earlier or later, says that it left there."
        ),
    ]
    removed: Annotated[
        list[str], Field(description="Records that were members before and are not now; all of them when dissolved.")
    ]
    size: Annotated[int, Field(ge=0, description="Number of members after the change; 0 when the cluster ended.")]
    members: NotRequired[
        Annotated[
            list[str],
            Field(
                max_length=MEMBERS_SHOWN,
                description="All members after the change, oldest first. Left out when they are more than "
                f"{MEMBERS_SHOWN}: apply `added` and `removed` then.",
            ),
        ]
    ]
    record_to_keep: RecordToKeep
    merged_from: Annotated[
        list[str], Field(description="Clusters that ended in this one; each has a `dissolved` event of its own.")
    ]
    merged_into: NotRequired[
        Annotated[str, Field(description="When dissolved: the cluster that took over, if one did.")]
    ]
    split_from: NotRequired[Annotated[str, Field(description="The cluster that the members were in before.")]]
    evidence: Annotated[
        list[EvidenceData], Field(description="The strongest links that made the change; empty when links went.")
    ]
    verdicts: NotRequired[Annotated[list[VerdictData], Field(description="What people said that made the change.")]]
    previous_record_to_keep: NotRequired[
        Annotated[str, Field(description="On `exemplar_changed`: the record to keep until then; it may have left.")]
    ]
    config: Config


class PossibleEventData(TypedDict):
    """A pair for a person to decide. A withdrawal of a pair never seen may be ignored."""

    profile: Profile
    scope: Scope
    kind: Annotated[
        Literal["found", "withdrawn"],
        Field(
            description="`found` again: it is held for another reason now. `withdrawn`: there is nothing to decide, for a "
            "record changed or was erased, both came into one cluster, or a person said that they differ."
        ),
    ]
    evidence: EvidenceData
    config: Config


class ClusterState(TypedDict):
    """Value of the compacted topic: what is true now. A null value: the cluster ended and nothing followed it."""

    profile: Profile
    scope: Scope
    cluster_id: ClusterId
    version: Version
    size: Annotated[int, Field(ge=0, description="Number of members; 0 when they moved to another cluster.")]
    members: Annotated[list[str], Field(description="Every member, oldest first.")]
    record_to_keep: RecordToKeep
    merged_into: NotRequired[Annotated[str, Field(description="The cluster that took over.")]]


class CloudEvent(TypedDict):
    """The CloudEvents 1.0 envelope; `id` is unique per `source` and the same on every delivery."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(description="Skip an event whose id was seen before: it is a redelivery.")]
    source: Annotated[str, Field(description="`/dedup/<profile>/<scope>`")]
    type: str
    subject: str
    time: Annotated[
        str,
        Field(
            json_schema_extra={"format": "date-time"},
            description="When the record that caused the change was ingested, in UTC; not when it was decided, so a "
            "redelivery says the same.",
        ),
    ]
    datacontenttype: Literal["application/json"]
    dataschema: str
    ingestedtime: Annotated[
        str, Field(json_schema_extra={"format": "date-time"}, description="Extension attribute; the same as `time`.")
    ]
    data: Any


@dataclass(frozen=True, slots=True)
class EventRenderer:
    """Renders the changes of one scope. `config` is the digest of the profile and models that decided."""

    profile: str
    scope: str
    config: str

    def entry(self, change: Change, cause: Cause) -> OutboxEntry:
        """The outbox entry of a change, ready to be sent."""
        if isinstance(change, ClusterChange):
            event_id = f"{change.cluster_id}:{change.version}"
            kind = f"dedup.cluster.{change.kind}.v1"
            event = self._envelope(event_id, kind, change.cluster_id, "cluster-event", cause)
            event["data"] = self._cluster_data(change)
            return OutboxEntry("events", change.cluster_id, orjson.dumps(event), cause.position.offset)
        pair = f"{quote(change.evidence.a)}|{quote(change.evidence.b)}"
        event_id = f"{pair}:{cause.position.partition}.{cause.position.offset}"
        event = self._envelope(event_id, f"dedup.possible.{change.kind}.v1", pair, "possible-event", cause)
        event["data"] = self._possible_data(change)
        return OutboxEntry("possible", pair, orjson.dumps(event), cause.position.offset)

    def state(self, cluster_id: str, cluster: Cluster | Retired) -> bytes | None:
        """Value for the compacted topic."""
        if isinstance(cluster, Retired):
            if cluster.merged_into is None:
                return None
            moved = self._state(cluster_id, cluster.version, [], None)
            moved["merged_into"] = cluster.merged_into
            return orjson.dumps(moved)
        oldest_first = sorted(cluster.members, key=lambda r: (cluster.members[r].born_ms, r))
        return orjson.dumps(self._state(cluster_id, cluster.version, oldest_first, cluster.exemplar))

    def _state(self, cluster_id: str, version: int, members: list[str], keep: str | None) -> ClusterState:
        return {
            "profile": self.profile,
            "scope": self.scope,
            "cluster_id": cluster_id,
            "version": version,
            "size": len(members),
            "members": members,
            "record_to_keep": keep,
        }

    def _envelope(self, event_id: str, kind: str, subject: str, schema: str, cause: Cause) -> CloudEvent:
        time = _rfc3339(cause.ingested_ms)
        return {
            "specversion": "1.0",
            "id": event_id,
            "source": f"/dedup/{self.profile}/{self.scope}",
            "type": kind,
            "subject": subject,
            "time": time,
            "datacontenttype": "application/json",
            "dataschema": f"urn:dedup:schema:{schema}:v1",
            "ingestedtime": time,
            "data": None,
        }

    def _cluster_data(self, change: ClusterChange) -> ClusterEventData:
        data: ClusterEventData = {
            "profile": self.profile,
            "scope": self.scope,
            "kind": change.kind,
            "cluster_id": change.cluster_id,
            "version": change.version,
            "added": list(change.added),
            "removed": list(change.removed),
            "size": len(change.members),
            "record_to_keep": change.exemplar,
            "merged_from": list(change.merged_from),
            "evidence": _evidence(change.evidence),
            "config": self.config,
        }
        if len(change.members) <= MEMBERS_SHOWN:
            data["members"] = list(change.members)
        if change.merged_into is not None:
            data["merged_into"] = change.merged_into
        if change.split_from is not None:
            data["split_from"] = change.split_from
        if change.verdicts:
            data["verdicts"] = [_verdict(verdict) for verdict in change.verdicts]
        if change.previous_exemplar is not None:
            data["previous_record_to_keep"] = change.previous_exemplar
        return data

    def _possible_data(self, change: PossibleChange) -> PossibleEventData:
        return {
            "profile": self.profile,
            "scope": self.scope,
            "kind": change.kind,
            "evidence": _evidence([change.evidence])[0],
            "config": self.config,
        }


def _evidence(edges: Sequence[Evidence]) -> list[EvidenceData]:
    shown: list[EvidenceData] = []
    for edge in edges:
        data: EvidenceData = {
            "a": edge.a,
            "b": edge.b,
            "probability": edge.match.probability,
            "similarities": dict(edge.match.similarities),
            "contributions": dict(edge.match.contributions),
        }
        if edge.held is not None:
            data["held"] = edge.held
        shown.append(data)
    return shown


def _verdict(verdict: Verdict) -> VerdictData:
    at = _rfc3339(verdict.said_ms)
    return {"a": verdict.a, "b": verdict.b, "verdict": verdict.says, "by": verdict.by, "at": at}


def _rfc3339(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
