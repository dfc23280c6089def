"""Hostile pictures, payloads and addresses through the whole pipeline: every record arrives, every outcome is counted."""

import base64
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from consumer.batch import MemoryPipeline, run_batch
from consumer.evaluation import EventView
from consumer.metrics import METRICS
from consumer.profile import load_profile
from consumer.records import Outgoing
from consumer.settings import load_settings
from consumer.wiring import build_encoders
from tests.deployment import Deployment, headers_of, key_of
from tests.pictures import encoded, hostile, photo
from tests.services import ROOT

LISTING = ROOT / "consumer" / "profiles" / "listing.yaml"
PICTURE = encoded(photo(11, 320, 240), quality=90)
COPY = encoded(photo(11, 320, 240).resize((200, 150)), "WEBP", quality=60)

BROKEN: Mapping[str, dict[str, object]] = {
    "not-base64": {"image": "!!!! no base64 !!!!"},
    "one-too-many": {"image": "AAAAA"},
    "not-ascii": {"image": "Zm9v\u00e9"},
    "padding-inside": {"image": "Zg==Zg=="},
    "another-data-uri": {"image": "data:text/html;base64,PGh0bWw+"},
    "not-text": {"image": [1, 2, 3]},
    "a-number": {"image": 7},
    "address-of-a-kind": {"image_uri": {"href": "https://example.com"}},
    "endless-address": {"image_uri": "https://example.com/" + "a" * 3_000},
    "too-many-bytes": {"image": "A" * 14_000_000},
}
"""Wrong messages, which become dead letters."""

EVIL = [
    "file:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "https://localhost:1/x.jpg",
    "gopher://localhost:6379/_FLUSHALL",
    "zip://x.jpg::https://example.com/x.zip",
    "s3://someone-elses/x.jpg",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "\\\\server\\share\\x.jpg",
    "https://[::ffff:127.0.0.1]/",
    "not an address at all",
]
"""Wrong addresses, which are refused."""


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def inputs(folder: Path) -> tuple[dict[str, dict[str, object]], Counter[str]]:
    """Records in any order, and the outcomes of their pictures. `folder` may be read."""
    records: dict[str, dict[str, object]] = {}
    wanted: Counter[str] = Counter()
    for name, (content, outcome) in hostile().items():
        (folder / name).write_bytes(content)
        records[f"inline-{name}"] = {"title": f"Inline {name}", "image": text(content)}
        records[f"file-{name}"] = {"title": f"Of a file {name}", "image_uri": f"{folder.as_uri()}/{name}"}
        wanted[outcome] += 2
    records |= {f"evil-{n}": {"title": f"Evil {n}", "image_uri": uri} for n, uri in enumerate(EVIL)}
    wanted["refused"] += len(EVIL)
    records["absent"] = {"image_uri": f"{folder.as_uri()}/absent.jpg"}
    records["no-picture"] = {"title": "A lamp without a picture", "image": None, "image_uri": ""}
    wanted |= Counter(not_found=1, missing=1)
    url_safe = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
    records["first"] = {"image": f"data:image/jpeg;base64,{text(PICTURE)}"}
    records["copy"] = {"image": text(COPY)}
    records["wrapped"] = {"image": "\r\n".join(url_safe[at : at + 76] for at in range(0, len(url_safe), 76))}
    wanted["read"] += 3
    items = [*records.items(), *BROKEN.items()]
    random.Random(5).shuffle(items)
    return dict(items), wanted


def outcomes() -> Counter[str]:
    samples = (s for metric in METRICS.images.collect() for s in metric.samples if s.name == "dedup_images_total")
    return Counter({s.labels["outcome"]: int(s.value) for s in samples})


def test_the_stream_goes_to_its_end(tmp_path: Path) -> None:
    records, wanted = inputs(tmp_path)
    settings = load_settings(
        overrides={
            "profile": "listing",
            "images.allow": [tmp_path.as_uri()],
            "models.providers": ["CPUExecutionProvider"],
        }
    )
    profile = load_profile("listing")
    pipeline = MemoryPipeline(settings, build_encoders(settings, profile))
    before = outcomes()
    messages = [
        Outgoing(profile.input, key.encode(), orjson.dumps(value), {"line": str(n).encode()}, None, n)
        for n, (key, value) in enumerate(records.items())
    ]
    pipeline.feed(messages)
    letters = pipeline.drain_dead_letters()
    assert {list(records)[int(letter["line"])] for letter in letters} == BROKEN.keys()
    assert all(str(letter["reason"]).startswith(("image: ", "image_uri: ")) for letter in letters)
    assert pipeline.broker.log((profile.vectors_topic, 0)).end == len(records) - len(BROKEN)
    assert outcomes() - before == wanted
    view = EventView()
    for event in pipeline.drain(settings.topics.events):
        view.apply(orjson.loads(event))
    assert view.assignments["first"] == view.assignments["copy"] == view.assignments["wrapped"]


def test_a_file_of_listings_names_pictures_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "img").mkdir(parents=True)
    (folder / "img" / "1.jpg").write_bytes(PICTURE)
    (folder / "img" / "2.webp").write_bytes(COPY)
    (folder / "img" / "3.jpg").write_bytes(encoded(photo(12, 320, 240)))
    (tmp_path / "secret.jpg").write_bytes(PICTURE)
    uris = {"a": "img/1.jpg", "b": "./img/2.webp", "c": "img/3.jpg", "d": "../secret.jpg", "e": "img/4.jpg"}
    source = folder / "listings.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps({"id": key, "image_uri": uri}) for key, uri in uris.items()))
    settings = load_settings(overrides={"profile": "listing", "models.providers": ["CPUExecutionProvider"]})
    before = outcomes()
    summary = run_batch(settings, source, tmp_path / "out", lambda _: None)
    assert (summary.records, summary.rejected, summary.clusters, summary.clustered_records) == (5, 0, 1, 2)
    assert outcomes() - before == Counter(read=3, refused=1, not_found=1)
    clusters = dict(line.split(",") for line in (tmp_path / "out" / "clusters.csv").read_text().splitlines())
    assert clusters["a"] == clusters["b"] != clusters["c"]


@pytest.fixture
def deploy(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    with ExitStack() as stack:

        def make(**changes: Any) -> Deployment:
            made = Deployment(unique[-40:].strip("-"), kafka_servers, redis_url, tmp_path, LISTING, **changes)
            stack.callback(made.close)
            return made

        yield make


def test_a_service_reads_pictures_from_kafka_and_from_files(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    deployment = deploy()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    records, wanted = inputs(pictures)
    noise = np.random.default_rng(13).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    large = encoded(Image.fromarray(noise), "PNG")
    assert len(large) > 400_000
    records["large"] = {"title": "A large picture", "image": text(large)}
    records["large-and-broken"] = {"image": text(large)[:-1] + "!"}
    wanted["read"] += 1
    service = deployment.start(
        DEDUP_IMAGES__ALLOW=orjson.dumps([pictures.as_uri()]).decode(),
        DEDUP_TOPICS__PARTITIONS="2",
        DEDUP_MODELS__PROVIDERS='["CPUExecutionProvider"]',
    ).wait_ready()
    for key, value in records.items():
        deployment.send(key, value)
    deployment.settle()
    letters = deployment.dead_letters()
    assert {key_of(m) for m in letters} == {*BROKEN, "large-and-broken"}
    assert all(headers_of(m)["dedup-reason"].startswith("image") for m in letters)
    assert len(deployment.read(deployment.vectors)) == len(records) - len(letters)
    found = {outcome: service.metric("dedup_images_total", outcome=outcome) for outcome in wanted}
    assert found == wanted
    assert service.metric("dedup_images_total") == wanted.total(), "no other outcome"
    view = deployment.view()
    assert view.assignments["first"] == view.assignments["copy"] == view.assignments["wrapped"]
    assert service.stop() == 0
    for word in ("passwd", "base64,", "example.com", str(pictures)):
        assert word not in service.stderr, "no address and no payload is logged"
