"""`dedup erase`: put a null value for a record on its input topic, which is how anyone asks for erasure; and prove it."""

import time
from dataclasses import dataclass

from consumer.adapters.kafka_publisher import send
from consumer.decode import decode_id
from consumer.erasure.residue import Report
from consumer.erasure.verify_erasure import Verification, require_topics
from consumer.errors import RejectedError, SettingsError
from consumer.profile import load_profile
from consumer.records import Outgoing
from consumer.settings import Settings
from consumer.wiring import require_brokers


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of an erasure."""

    topic: str
    late: str
    """Why it did not go through in time; empty when it did, or when none was asked for."""
    report: Report

    @property
    def holds(self) -> bool:
        """Whether nothing of the record is in the present state."""
        return not self.late and self.report.clean


def request_erasure(settings: Settings, record_id: str) -> str:
    """Produce the null value, wait until the broker has it, and return the topic. Raises DedupError."""
    require_brokers(settings)
    topic = load_profile(settings.profile).input
    key = _key(record_id)
    send(settings.kafka.producer_properties, [Outgoing(topic, key, None)])
    return topic


def prove_erasure(settings: Settings, record_id: str, wait_seconds: float, *, request: bool) -> Proof:
    """Ask for the erasure, if `request`, wait for it, and look for what is left. Raises DedupError."""
    require_brokers(settings)
    _key(record_id)
    profile = load_profile(settings.profile)
    require_topics(settings, profile)
    verification = Verification(settings, profile, record_id)
    deadline = time.monotonic() + wait_seconds
    late = ""
    if request:
        before = verification.before()
        request_erasure(settings, record_id)
        late = verification.follow(before, deadline)
    return Proof(profile.input, late, verification.look(deadline if not late else 0.0))


def _key(record_id: str) -> bytes:
    key = record_id.encode()
    try:
        decode_id(key)
    except RejectedError as error:
        raise SettingsError(f"record id: {error}") from None
    return key
