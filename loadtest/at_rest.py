"""The same messages through the same engine with nobody in a hurry: what F1 under load is to be held against."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

import orjson

from consumer.batch import MemoryPipeline
from consumer.evaluation import EventView, Scores, pairwise
from consumer.profile import Profile
from consumer.records import Outgoing
from consumer.settings import Settings
from consumer.wiring import build_encoders
from loadtest.author import Author

_CHUNK = 2_048


def scores_at_rest(
    settings: Settings,
    profile: Profile,
    authors: Sequence[Author],
    lengths: Sequence[int],
    truth: Mapping[str, Hashable],
) -> Scores:
    """Decide the messages of a run again, with topics and store in memory. `authors` are those of its generators, anew.

    `lengths` are the numbers of messages that were sent in one go each. Only where the run met an empty index are the two to
    be the same. Raises ModelError.
    """
    pipeline, view = MemoryPipeline(settings, build_encoders(settings, profile)), EventView()
    messages = _messages(profile, authors, lengths)
    while chunk := list(itertools.islice(messages, _CHUNK)):
        pipeline.feed(chunk)
        for event in pipeline.drain(settings.topics.events):
            view.apply(orjson.loads(event))
    return pairwise(truth, view.assignments)


def _messages(profile: Profile, authors: Sequence[Author], lengths: Sequence[int]) -> Iterator[Outgoing]:
    """In the order in which they were meant to leave: generators take turns."""
    for length in lengths:
        for number in range(length):
            sending = next(authors[number % len(authors)])
            yield Outgoing(profile.input, sending.key, sending.value)
