"""Marks in every field and every secret of a deployment: after a life full of trouble, none is where it must not be.

Record ids, scopes and the names of those who give feedback are meant to be in events, and are not marked. The dead
letters themselves are the messages as they came: their headers are looked at, their content is not.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.errors import DedupError
from consumer.explain import explain_files, explain_stored
from consumer.review import hand_in
from consumer.settings import load_settings
from consumer.wiring import check_brokers
from tests.deployment import Process, headers_of, value_of
from tests.pictures import encoded, photo
from tests.secure_deployment import PASSWORD, SecureDeployment
from tests.secure_services import SecureKafka, SecureRedis

GOODS = {
    "fields": {
        **{name: {"type": "text"} for name in ("title", "description", "brand", "code")},
        "price": {"type": "number"},
        "image": {"type": "image"},
        "image_uri": {"type": "uri"},
    },
    "modalities": {
        "title": {"encoder": "lexical", "fields": ["title", "brand"], "dim": 64, "weight": 0.5},
        "description": {"encoder": "lexical", "fields": ["description"], "dim": 32, "weight": 0.2},
        "codes": {"encoder": "codes", "fields": ["title", "code"], "dim": 64, "weight": 0.2},
        "price": {"encoder": "price", "fields": ["price"], "weight": 0.1},
        "image": {
            "encoder": "image",
            "model": "copy-vit",
            "floor": 0.7,
            "reach": 0.3,
            "weight": 0.3,
            "fields": ["image", "image_uri"],
        },
    },
    "quality": {"completeness": {"fields": {"title": 1}}},
}
"""Everything a field can be; the fusion is that of persons."""
MARK = "Zq"
"""What every mark begins with; two letters that nothing else here begins with in this spelling, at a word's start."""
PICTURE = base64.b64encode(encoded(photo(5, 24, 24))).decode()
SECRETS = {
    "DEDUP_PRIVACY__KEY": f"{MARK}privacykey",
    "DEDUP_PRIVACY__ROTATION_KEY": f"{MARK}rotationkey-of-32-characters",
    "DEDUP_IMAGES__ALLOW": '["http://127.0.0.1:9/"]',
    "DEDUP_IMAGES__ATTEMPTS": "1",
    "DEDUP_LOG__LEVEL": "debug",
}


def words(*names: str) -> list[str]:
    return [f"{MARK}{name}mark" for name in names]


TITLE, TEXT, BRAND, CODE, QUERY, EXTRA, KEY = words("title", "text", "brand", "code", "query", "extra", "key")
MARKED = [TITLE, TEXT, BRAND, CODE, QUERY, EXTRA, KEY, PASSWORD, *(v for v in SECRETS.values() if v.startswith(MARK))]
BAD = [
    f'{{"title": "{TITLE}'.encode(),
    f'{{"title": ["{TITLE}"]}}'.encode(),
    f'{{"id": "{EXTRA}", "title": "{TITLE}"}}'.encode(),
    f'{{"title": "{TITLE}", "{EXTRA}'.encode(),
    f'{{"price": ["{TITLE}"]}}'.encode(),
    f'{{"image": "{TITLE} is no base64"}}'.encode(),
    f'{{"image_uri": ["http://127.0.0.1:9/{QUERY}"]}}'.encode(),
    f'"{TITLE}"'.encode(),
    TITLE.encode() + b"\xff",
]


@pytest.fixture
def deployment(
    secure_kafka: SecureKafka, secure_redis: SecureRedis, unique: str, tmp_path: Path
) -> Iterator[SecureDeployment]:
    made = SecureDeployment(f"p{unique[-8:]}", secure_kafka, secure_redis, tmp_path, **GOODS)
    made.environment |= SECRETS
    try:
        yield made
    finally:
        made.close()


def listing(n: int, **more: object) -> dict[str, object]:
    return {
        "title": f"{TITLE} camera {n}",
        "description": f"{TEXT} of a camera",
        "brand": BRAND,
        "code": f"{CODE}-{n}00",
        "price": 129.5,
        EXTRA: EXTRA,
        **more,
    }


def send_everything(deployment: SecureDeployment) -> None:
    for n in range(12):
        deployment.send(f"record-{n}", listing(n // 3, image=PICTURE))
    unread = {"unreachable": f"http://127.0.0.1:9/{QUERY}.jpg?{QUERY}", "refused": f"https://other.example/{QUERY}"}
    for name, address in unread.items():
        deployment.send(name, listing(7, image_uri=address))
    deployment.send("no-picture", listing(8, image=base64.b64encode(TEXT.encode()).decode()))
    for n, value in enumerate(BAD):
        deployment.send(f"bad-{n}", value)
        deployment.send(f"bad-{n}", value, topic=deployment.feedback)
        deployment.send(f"bad-{n}", value, topic=deployment.vectors)
    word = {"a": "record-0", "b": "record-1", "verdict": "same", "by": "Ann", "profile": deployment.name}
    deployment.send("odd", {**word, "verdict": EXTRA, "scope": TITLE, "at": TEXT}, topic=deployment.feedback)
    deployment.send(b"\xff" + KEY.encode(), b"", topic=deployment.vectors)
    deployment.send(b"\xff" + KEY.encode(), listing(1))
    deployment.send("word", word, topic=deployment.feedback)
    deployment.settle()
    deployment.send("record-0", None)
    deployment.settle()


def commands(deployment: SecureDeployment, folder: Path) -> str:
    """What an operator's commands say who meet the same content."""
    sheet, left, config = folder / "sheet.csv", folder / "left.json", folder / "settings.yaml"
    sheet.write_text(f"a,b,verdict\nr1,r2,{TITLE}\n")
    left.write_bytes(BAD[0])
    config.write_text(f"privacy: {{key:{MARKED[-2]}, rotation_key: {MARK}short}}\nkafka: {{properties: {PASSWORD}}}\n")
    profile = deployment.environment["DEDUP_PROFILE"]
    password, where = f"{PASSWORD}-wrong", {"kafka.bootstrap_servers": deployment.servers, "profile": profile}
    kafka = deployment.secure_kafka.properties(deployment.name, password)
    redis = deployment.secure_redis.url(deployment.name, password)
    refused: list[Callable[[], object]] = [
        lambda: load_settings(config),
        lambda: hand_in(load_settings(None, where), sheet, "Ann", None),
        lambda: explain_files(load_settings(None, where), left, left),
        lambda: explain_stored(load_settings(None, {**where, "redis.url": redis}), ["r1"], None),
        lambda: check_brokers(load_settings(None, {**where, "kafka.properties": kafka})),
    ]
    said = []
    for call in refused:
        with pytest.raises(DedupError) as caught:
            call()
        said.append(str(caught.value))
    return "\n".join(said)


def test_no_mark_is_found_where_it_must_not_be(deployment: SecureDeployment, tmp_path: Path) -> None:
    deployment.create_topics()
    processes = [deployment.start(role, **deployment.as_role(role)) for role in ("encode", "match")]
    for process in processes:
        process.wait_ready()
    send_everything(deployment)
    assert deployment.view().clusters
    letters = [
        m
        for topic in (deployment.input, deployment.feedback, deployment.vectors)
        for m in deployment.read(f"{topic}.dlq")
    ]
    assert len(letters) == 3 * len(BAD) + 3
    places = {
        "command lines": "".join(arguments_of(process) for process in processes),
        "health and metrics": "".join(p.get(path)[1] for p in processes for path in ("/metrics", "/livez", "/readyz")),
        "headers of dead letters": json.dumps([headers_of(m) for m in letters]),
        "Redis": deployment.dump().decode(errors="replace"),
        "commands": commands(deployment, tmp_path),
    }
    assert [process.stop() for process in processes] == [0, 0]
    places["logs"] = "".join(process.stdout + process.stderr for process in processes)
    for topic in (deployment.vectors, *(f"{deployment.name}.{name}" for name in ("events", "clusters", "possible"))):
        values = [value_of(m) for m in deployment.read(topic) if m.value() is not None]
        places[topic] = b"".join(value for value in values if value not in BAD).decode(errors="replace")
    state = [path.read_bytes() for path in (deployment.folder / "state").rglob("*") if path.is_file()]
    assert state
    places["snapshots"] = b"".join(state).decode(errors="replace")
    found = {(place, mark) for place, content in places.items() for mark in MARKED if mark.lower() in content.lower()}
    assert found == set()
    assert "Traceback" not in places["logs"] + places["commands"]


def arguments_of(process: Process) -> str:
    """What others on the machine see of it."""
    listed = Path(f"/proc/{process._process.pid}/cmdline")
    return listed.read_text() if listed.exists() else ""
