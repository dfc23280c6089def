"""What tests send to a deployment, and the stories it tells of them: the same in events, Redis and the compacted topic."""

from collections.abc import Callable, Sequence
from typing import Any

from consumer.evaluation import EventView
from tests.deployment import DAY, Deployment

Deploy = Callable[..., Deployment]


def person(name: str, city: str = "Wien", **more: object) -> dict[str, object]:
    return {"name": name, "city": city, **DAY, **more}


def assert_consistent(deployment: Deployment, scopes: Sequence[str] = ("default",)) -> EventView:
    """Events alone, Redis, and the compacted topic tell the same; no version is missing."""
    view = deployment.view()
    assert view.gaps == []
    stored: dict[str, str] = {}
    for scope in scopes:
        stored |= deployment.assignments(scope)
    assert view.assignments == stored
    states = deployment.states()
    live = {cid: set(state["members"]) for cid, state in states.items() if state is not None and state["size"]}
    assert live == dict(view.clusters)
    for cid, state in states.items():
        if cid not in live:
            assert state is None or state["merged_into"] in states
    assert {event["data"]["cluster_id"] for event in deployment.events()} == states.keys()
    return view


def stories(events: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Per cluster its events by version, repeats left out."""
    by_id = {event["id"]: event for event in events}
    found: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(by_id.values(), key=lambda e: int(e["data"]["version"])):
        found.setdefault(event["data"]["cluster_id"], []).append(event)
    return found
