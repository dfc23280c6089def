"""`dedup run` where messages cannot be read: they are dead letters, and too many in a row stop it."""

import random
from collections import Counter

from consumer.sections import MESSAGE_MAX_BYTES
from tests.deployment import headers_of, key_of
from tests.stories import Deploy, assert_consistent, person

SCRIPTS = ("عبد الرحمن الخليل", "王小明", "Ωμέγα Παπαδόπουλος", "Ǆ\u0301 ﬃ \u202eevil", "👩‍👩‍👧‍👦 🇦🇹", "nul \x00 inside", "कमला हैरिस", "ꙮ" * 3000)  # fmt: skip


def poison() -> list[tuple[str | bytes | None, bytes]]:
    """Messages that cannot be read, each in another way."""
    return [
        ("not-json", b"{name: Ada"),
        ("empty", b""),
        ("truncated", b'{"name": "Ada'),
        ("not-utf-8", b'{"name": "\xff\xfe"}'),
        ("lone-surrogate", b'{"name": "\\ud800"}'),
        ("nested", b"[" * 100_000),
        ("list", b"[1, 2]"),
        ("text", b'"Ada"'),
        (None, b'{"name": "Ada"}'),
        (b"", b'{"name": "Ada"}'),
        (b"\xff\xfe", b'{"name": "Ada"}'),
        ("k" * 257, b'{"name": "Ada"}'),
        ("name-is-object", b'{"name": {"first": "Ada"}}'),
        ("name-is-truth", b'{"name": true}'),
        ("times-are-number", b'{"login_times": 7}'),
        ("times-are-words", b'{"login_times": ["yesterday"]}'),
        ("key-is-not-id", b'{"id": "another", "name": "Ada"}'),
        ("id-is-number", b'{"id": 7, "name": "Ada"}'),
        ("large-and-bad", random.Random(1).randbytes(10_000_000)),
        ("as-large-as-can-be", random.Random(2).randbytes(MESSAGE_MAX_BYTES - 200)),
    ]


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_stream_goes_on(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.environment["DEDUP_TOPICS__PARTITIONS"] = "2"
    service = deployment.start().wait_ready()
    bad = poison()
    good: dict[str, object] = {f"script-{n}": person(text, text) for n, text in enumerate(SCRIPTS)}
    good["empty-strings"] = {"name": "", "city": " ", "browser": "", "os": "", "login_times": []}
    good["nulls"] = {"name": None, "city": None, "login_times": None}
    good["nothing"] = {}
    good["numbers"] = {"id": "numbers", "name": 7, "city": 1e300}
    good["unknown-fields"] = {**person("Ada"), "shoe size": [38]}
    good["large"] = {"name": "The title of " + "x" * 10_000_000}
    good["many-logins"] = {"name": "Ada", "login_times": ["2025-01-06T09:00:00Z"] * 100_000}
    pairs: list[tuple[str | bytes | None, object]] = [*bad, *good.items()]
    random.Random(3).shuffle(pairs)
    for key, value in pairs:
        deployment.send(key, value)
    deployment.settle()

    letters = deployment.dead_letters()
    assert Counter((m.key() or None, m.value()) for m in letters) == Counter(
        (key.encode() if isinstance(key, str) else key or None, value) for key, value in bad
    )
    arrived = {(m.partition(), m.offset()): m for m in deployment.read(deployment.input)}
    for letter in letters:
        headers = headers_of(letter)
        assert headers["dedup-stage"] == "encode"
        assert headers["dedup-topic"] == deployment.input
        assert headers["dedup-reason"]
        origin = arrived[int(headers["dedup-partition"]), int(headers["dedup-offset"])]
        assert origin.value() == letter.value()
        assert headers["dedup-timestamp"] == str(origin.timestamp()[1])
    assert {key_of(m) for m in deployment.read(deployment.vectors)} == good.keys()
    assert service.metric("dedup_rejected_total", stage="encode") == len(bad)
    assert service.metric("dedup_index_records") == len(good)

    deployment.send("late", person("王小明", "王小明"))
    deployment.settle()
    view = assert_consistent(deployment)
    assert view.assignments["late"] == view.assignments["script-1"]
    assert service.get("/readyz")[0] == 200
    assert service.stop() == 0


def test_too_many_dead_letters_in_a_row_stop_the_process_with_one_message(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.environment |= {
        "DEDUP_TOPICS__PARTITIONS": "1",
        "DEDUP_LIMITS__CONSECUTIVE_REJECTS": "20",
        "DEDUP_LIMITS__BATCH_RECORDS": "8",
    }
    service = deployment.start().wait_ready()
    for n in range(60):
        deployment.send(f"bad-{n}", b"this is no JSON, and names Ada Brennan")
    deployment.flush()
    assert service.wait() == 1
    message = [line for line in service.stderr.splitlines() if line.startswith("dedup: ")]
    assert len(message) == 1
    assert "messages in a row were rejected" in message[0]
    assert f"{deployment.input}.dlq" in message[0]
    assert "limits.consecutive_rejects" in message[0]
    assert "Traceback" not in service.stderr
    assert "Brennan" not in service.stderr
    assert 20 < len(deployment.dead_letters()) <= 60
