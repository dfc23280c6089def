"""`dedup feedback`: a word is on the topic when the command ends, and a sheet is sent whole or not at all."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from consumer.adapters.kafka_source import KafkaSource
from consumer.records import Message
from tests.command_line import SAY, assert_refused, dedup


def test_a_word_is_on_the_topic_when_the_command_ends(named: Mapping[str, str]) -> None:
    topic = named["DEDUP_TOPICS__FEEDBACK"]
    assert_refused(dedup(*SAY, **named), topic, "does not exist")
    assert dedup("topics", "create", **named).returncode == 0

    done = dedup("feedback", "r2", "r1", "--different", "--by", "Ann", "--json", **named)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("topic") == topic
    assert (said["a"], said["b"], said["verdict"], said["scope"]) == ("r1", "r2", "different", "default")
    told = dedup(*SAY, **named).stdout
    assert all(part in told for part in ("`same` for r1 and r2", topic, named["DEDUP_TOPICS__EVENTS"]))

    words = read_topic(named, topic)
    assert [word["verdict"] for word in words] == ["different", "same"]
    assert words[0] == said


def test_a_sheet_is_sent_whole_or_not_at_all(named: Mapping[str, str], tmp_path: Path) -> None:
    assert dedup("topics", "create", **named).returncode == 0
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("a,b,verdict\nr1,r2,same\nr1,r3,perhaps\nr4,r4,same\n")
    done = dedup("feedback", "--file", sheet, "--by", "Ann", **named)
    assert_refused(done, "sheet.csv", "line 3: verdict: ", "line 4: a and b are the same record")
    assert read_topic(named, named["DEDUP_TOPICS__FEEDBACK"]) == []

    sheet.write_text("a,b,verdict\nr1,r2,same\nr1,r3,\nr5,r4,different\n")
    done = dedup("feedback", "--file", sheet, "--by", "Ann", "--json", **named)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"said": 2, "unanswered": 1, "topic": named["DEDUP_TOPICS__FEEDBACK"]}
    words = read_topic(named, named["DEDUP_TOPICS__FEEDBACK"])
    assert {(w["a"], w["b"], w["verdict"], w["by"]) for w in words} == {
        ("r1", "r2", "same", "Ann"),
        ("r4", "r5", "different", "Ann"),
    }


def read_topic(named: Mapping[str, str], topic: str) -> list[dict[str, str]]:
    """JSON values, those of one key in their order."""
    servers = {"bootstrap.servers": named["DEDUP_KAFKA__BOOTSTRAP_SERVERS"]}
    source = KafkaSource(servers, f"{topic}.reader.{time.monotonic_ns()}", [topic])
    try:
        ends = {partition: source.high_watermark(topic, partition) for partition in range(2)}
        messages: list[Message] = []
        while len(messages) < sum(ends.values()):
            messages += source.poll(100, 1.0)
    finally:
        source.close()
    return [json.loads(m.value or b"") for m in messages]
