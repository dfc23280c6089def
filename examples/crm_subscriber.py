# ruff: noqa: INP001, SLF001 - a file to copy, not a package; confluent-kafka's error codes begin with an underscore
"""Keeps a CRM table in step with duplicate clusters: `python crm_subscriber.py --bootstrap-servers kafka:9092`.

An empty database begins with what is true now, from `duplicate-clusters`, and goes on with `duplicate-events` from the
first that is kept. So it may begin at any time: what changed while the states were read is among the events.

Query `record_cluster` (which duplicate cluster a record is in) and `duplicate_cluster` (which of its records to keep).
Both hold only records of clusters, that is: with duplicates.

Why the tables are right whatever the order of arrival. The events of one cluster are in one partition, so Kafka delivers
them in order; those of different clusters may overtake one another. A record that moves from one cluster to another is
therefore never "moved" here. `cluster_member` keeps (cluster, record) pairs, and an event touches the pairs of its own
cluster only. So each cluster's pairs depend on that cluster's events alone, and once these are read they are exactly
its members, however the clusters' events were interleaved. As a record is a member of one cluster at most, so is it in
`record_cluster`, which is derived from the pairs. (Setting a column `record.cluster_id` on each event looks simpler and
is wrong: for a record that went A → B → A, a late pair of events of B clears what A set.)

While one cluster's event is still on its way, a record may be in two clusters, of which `record_cluster` shows the one
it joined last, or in none. That passes.

Progress is kept in the database, in the transaction of the rows, not in a Kafka consumer group: after a crash the
program goes on from exactly what the tables hold. Run one process per database.
"""

import argparse
import json
import logging
import signal
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

BATCH = 500
TIMEOUT_SECONDS = 15.0
NO_CONNECTION = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT}
log = logging.getLogger("crm_subscriber")

SCHEMA = """
CREATE TABLE IF NOT EXISTS duplicate_cluster (
    cluster_id     TEXT PRIMARY KEY,
    profile        TEXT NOT NULL,     -- kind of record, such as `signup`: record ids are unique within one
    scope          TEXT NOT NULL,
    version        INTEGER NOT NULL,  -- of the state, or the last event applied
    record_to_keep TEXT,              -- null once the cluster ended
    size           INTEGER NOT NULL,  -- 0 once it ended; the row stays, so that a late copy is recognised
    merged_into    TEXT               -- the cluster that took over, if one did
);
CREATE TABLE IF NOT EXISTS cluster_member (
    cluster_id TEXT, record_id TEXT, since TEXT NOT NULL, PRIMARY KEY (cluster_id, record_id)
);
CREATE INDEX IF NOT EXISTS cluster_member_record ON cluster_member (record_id);
CREATE VIEW IF NOT EXISTS record_cluster AS
SELECT profile, scope, record_id, cluster_id, record_id = record_to_keep AS keep, since
FROM (
    SELECT c.*, m.record_id, m.since, ROW_NUMBER() OVER (
        PARTITION BY c.profile, c.scope, m.record_id ORDER BY m.since DESC, m.cluster_id
    ) AS place
    FROM cluster_member m JOIN duplicate_cluster c ON c.cluster_id = m.cluster_id
)
WHERE place = 1;
CREATE TABLE IF NOT EXISTS kafka_progress (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
);
"""


def open_database(path: str) -> sqlite3.Connection:
    """The database with its tables; transactions are begun by hand."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(SCHEMA)
    return database


def apply_event(database: sqlite3.Connection, event: Mapping[str, Any]) -> bool:
    """Apply one event inside the caller's transaction; False when it told nothing new."""
    if not event["type"].startswith("dedup.cluster."):
        return False  # some other kind of event
    if not event["type"].endswith(".v1"):
        raise ValueError(f"this program does not know {event['type']}; take its newer version")
    data = event["data"]
    cluster_id, version = data["cluster_id"], data["version"]
    known = database.execute("SELECT version FROM duplicate_cluster WHERE cluster_id = ?", (cluster_id,)).fetchone()
    if known and version <= known[0]:
        return False  # a redelivery, or it is in the state already
    # An event that lists the members stands by itself. One that does not (they are many) needs the one before it,
    # unless its cluster has ended: then the states do not have it, and its last event takes it away again.
    if known and version > known[0] + 1 and "members" not in data:
        raise ValueError(f"events before version {version} of {cluster_id} are missing; start with an empty database")
    _put_cluster(database, data)
    # From here on only pairs of this event's own cluster are touched: see the top of the file.
    added, removed = set(data["added"]), set(data["removed"])
    if "members" in data:
        rows = database.execute("SELECT record_id FROM cluster_member WHERE cluster_id = ?", (cluster_id,))
        added, removed = set(data["members"]), {record_id for (record_id,) in rows} - set(data["members"])
    gone, come = [(cluster_id, r) for r in removed], [(cluster_id, r, event["time"]) for r in added]
    database.executemany("DELETE FROM cluster_member WHERE cluster_id = ? AND record_id = ?", gone)
    database.executemany("INSERT OR IGNORE INTO cluster_member VALUES (?, ?, ?)", come)
    return True


def apply_state(database: sqlite3.Connection, cluster_id: str, state: Mapping[str, Any] | None, since: str) -> None:
    """Store the state of one cluster inside the caller's transaction; None: it ended, and none took over.

    Where the topic got more partitions, an older state may be read after a newer one.
    """
    known = database.execute("SELECT version FROM duplicate_cluster WHERE cluster_id = ?", (cluster_id,)).fetchone()
    if known and state and state["version"] < known[0]:
        return
    database.execute("DELETE FROM cluster_member WHERE cluster_id = ?", (cluster_id,))
    if state is None:
        database.execute("DELETE FROM duplicate_cluster WHERE cluster_id = ?", (cluster_id,))
        return
    _put_cluster(database, state)
    rows = [(cluster_id, record, since) for record in state["members"]]
    database.executemany("INSERT INTO cluster_member VALUES (?, ?, ?)", rows)


def _put_cluster(database: sqlite3.Connection, data: Mapping[str, Any]) -> None:
    columns = ("cluster_id", "profile", "scope", "version", "record_to_keep", "size", "merged_into")
    values = [data.get(column) for column in columns]
    database.execute("INSERT OR REPLACE INTO duplicate_cluster VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def apply_message(database: sqlite3.Connection, message: Message, *, states: bool) -> bool:
    """Apply a message of either topic; False when it told nothing new."""
    value = message.value()
    if not states:
        return apply_event(database, json.loads(value or b""))
    moment = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    since = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")  # as events write time
    apply_state(database, (message.key() or b"").decode(), json.loads(value) if value else None, since)
    return True


def apply_messages(database: sqlite3.Connection, messages: Iterable[Message], *, states: bool = False) -> int:
    """Apply messages and note how far we are: all of it happens, or nothing. Returns how many changed something."""
    applied = 0
    database.execute("BEGIN IMMEDIATE")
    try:
        for message in messages:
            where = (message.topic(), message.partition(), message.offset())
            try:
                applied += apply_message(database, message, states=states)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SystemExit(f"cannot apply {where[0]}[{where[1]}] offset {where[2]}: {error!r}") from error
            database.execute("INSERT OR REPLACE INTO kafka_progress VALUES (?, ?, ? + 1)", where)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    return applied


def begin(consumer: Consumer, database: sqlite3.Connection, states: str, events: str) -> int:
    """Read the states to their end, unless events were applied already. Returns how many there were.

    Begun again after a crash, it goes on where it was: events are read only once all states are.
    """
    if database.execute("SELECT 1 FROM kafka_progress WHERE topic = ?", (events,)).fetchone():
        return 0
    return sum(apply_messages(database, batch, states=True) for batch in read(consumer, database, states, once=True))


def follow(consumer: Consumer, database: sqlite3.Connection, events: str, *, once: bool) -> int:
    """Apply events for ever, or with `once` to the end of the topic. Returns how many changed something."""
    return sum(apply_messages(database, batch) for batch in read(consumer, database, events, once=once))


def read(consumer: Consumer, database: sqlite3.Connection, topic: str, *, once: bool) -> Iterator[list[Message]]:
    """Batches of a topic from where the database is, for partitions it does not know from their beginning."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    rows = database.execute("SELECT partition, next_offset FROM kafka_progress WHERE topic = ?", (topic,))
    progress = dict(rows.fetchall())
    consumer.assign([TopicPartition(topic, p, progress.get(p, OFFSET_BEGINNING)) for p in found.partitions])
    waiting_for = set(found.partitions)
    while waiting_for or not once:
        batch = []
        for message in consumer.consume(BATCH, timeout=1.0):
            error = message.error()
            if error is None:
                batch.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting_for.discard(message.partition() or 0)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                lost = (
                    "no longer has the offset to go on from; messages were deleted unread, or the topic was made anew"
                )
                raise SystemExit(f"{topic}[{message.partition()}] {lost}. Start again with an empty database.")
            elif error.code() in NO_CONNECTION or error.retriable():
                log.warning("waiting for Kafka: %s", error.str())  # librdkafka connects again by itself
            else:
                raise KafkaException(error)
        if batch:
            yield batch


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Keep a CRM table in step with duplicate clusters.")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--events", metavar="TOPIC", default="duplicate-events")
    parser.add_argument("--states", metavar="TOPIC", default="duplicate-clusters")
    parser.add_argument("--database", default="crm.sqlite")
    parser.add_argument("--property", action="append", default=[], metavar="K=V", help="of librdkafka, repeatable")
    parser.add_argument("--once", action="store_true", help="stop at the end of the events")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an open transaction is rolled back on the way out
    properties: dict[str, str | int | float | bool] = {
        "bootstrap.servers": options.bootstrap_servers,
        "group.id": "crm-subscriber",  # librdkafka wants one; nothing is committed under it
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",  # never skip or repeat silently
        "isolation.level": "read_committed",
        **{key: value for key, _, value in (text.partition("=") for text in options.property)},
    }
    try:
        with closing(open_database(options.database)) as database, closing(Consumer(properties)) as consumer:
            log.info("took in %d states", begin(consumer, database, options.states, options.events))
            log.info("applied %d events", follow(consumer, database, options.events, once=options.once))
    except KafkaException as error:
        sys.exit(
            f"Kafka at {options.bootstrap_servers}, topics {options.states} and {options.events}: {error.args[0].str()}"
        )
    except sqlite3.Error as error:
        sys.exit(f"{options.database}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
