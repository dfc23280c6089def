"""Pictures by address, from real servers: https with a certificate of its own, S3, files; and the limits that hold there."""

import datetime as dt
import ipaddress
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from consumer.adapters.allow_list import AllowList
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.errors import SettingsError
from tests.pictures import encoded, photo

PICTURE = encoded(photo(1))
LIMITS = FetchLimits(max_bytes=100_000, timeout_seconds=5.0, attempts=2)
IMPATIENT = FetchLimits(max_bytes=100_000, timeout_seconds=0.3, attempts=1)


class _Handler(BaseHTTPRequestHandler):
    """Answers by path. `asked` counts the requests for each."""

    asked: ClassVar[dict[str, int]]
    headers_seen: ClassVar[list[str]]
    ended: ClassVar[threading.Event]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked[path] = self.asked.get(path, 0) + 1
        self.headers_seen.extend(self.headers.keys())
        answers: dict[str, Callable[[], None]] = {
            "/img/ok.jpg": self._picture,
            "/img/moved.jpg": lambda: self._status(302, Location="/secret/key.jpg"),
            "/secret/key.jpg": self._picture,
            "/img/endless.jpg": self._endless,
            "/img/lying.jpg": self._lying,
            "/img/slow.jpg": self._slow,
            "/img/broken.jpg": lambda: self._status(500),
            "/img/flaky.jpg": lambda: self._picture() if self.asked[path] > 1 else self._status(503),
            "/img/forbidden.jpg": lambda: self._status(403),
            "/img/packed.jpg": lambda: self._status(200, b"\x1f\x8b\x08" + bytes(20), **{"Content-Encoding": "gzip"}),
            "/img/cookie.jpg": lambda: self._status(200, PICTURE, **{"Set-Cookie": "a=b"}),
        }
        try:
            answers.get(path, lambda: self._status(404))()
        except OSError:  # the client has enough
            self.close_connection = True

    def _picture(self) -> None:
        self._status(200, PICTURE)

    def _status(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.ended.is_set():
            self.wfile.write(b"2000\r\n" + bytes(0x2000) + b"\r\n")

    def _lying(self) -> None:
        """Says it sends no more than a little, and closes after much more."""
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bytes(300_000))

    def _slow(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        while not self.ended.wait(0.05):
            self.wfile.write(b"x")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    return path


class Served:
    """A server of pictures, and what it was asked."""

    def __init__(self, certificate: Path | None) -> None:
        class Handler(_Handler):
            asked: ClassVar[dict[str, int]] = {}
            headers_seen: ClassVar[list[str]] = []
            ended: ClassVar[threading.Event] = threading.Event()

        self.handler: type[_Handler] = Handler
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.root = f"{scheme}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def asked(self) -> dict[str, int]:
        return self.handler.asked

    def close(self) -> None:
        self.handler.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def web(certificate: Path) -> Iterator[Served]:
    served = Served(certificate)
    yield served
    served.close()


@pytest.fixture
def plain() -> Iterator[Served]:
    served = Served(None)
    yield served
    served.close()


def store(prefixes: list[str], limits: FetchLimits = LIMITS, ca_file: Path | None = None) -> ImageStore:
    return ImageStore(AllowList(prefixes), limits, ca_file)


def read(images: ImageStore, uri: str, seconds: float = 30.0) -> bytes | str:
    return images.read(uri, time.monotonic() + seconds)


def test_a_picture_over_https(web: Served, certificate: Path) -> None:
    images = store([f"{web.root}/img"], ca_file=certificate)
    assert read(images, f"{web.root}/img/ok.jpg") == PICTURE
    assert read(images, f"{web.root}/img/ok.jpg?size=large") == PICTURE
    assert read(images, f"{web.root}/img/absent.jpg") == "not_found"
    assert read(images, f"{web.root}/img/forbidden.jpg") == "not_found"


def test_a_server_that_nobody_vouches_for_is_not_trusted(web: Served) -> None:
    assert read(store([f"{web.root}/img"], IMPATIENT), f"{web.root}/img/ok.jpg") == "unreachable"
    assert web.asked == {}


def test_only_what_is_allowed_is_asked_for(web: Served, certificate: Path) -> None:
    images = store([f"{web.root}/img"], ca_file=certificate)
    for uri in ("/secret/key.jpg", "/img/../secret/key.jpg", "/img/%2e%2e/secret/key.jpg", "/imgs/ok.jpg"):
        assert read(images, web.root + uri) == "refused"
    assert read(images, web.root.replace("localhost", "127.0.0.1") + "/img/ok.jpg") == "refused"
    assert read(images, web.root.replace("https", "http") + "/img/ok.jpg") == "refused"
    assert web.asked == {}


def test_a_redirect_is_not_followed(web: Served, certificate: Path) -> None:
    images = store([web.root], ca_file=certificate)
    assert read(images, f"{web.root}/img/moved.jpg") == "refused"
    assert web.asked == {"/img/moved.jpg": 1}


def test_the_ceiling_holds_whatever_the_server_says(plain: Served) -> None:
    images = store([plain.root])
    assert read(images, f"{plain.root}/img/endless.jpg") == "too_large"
    assert read(images, f"{plain.root}/img/lying.jpg") == "too_large"


def test_an_answer_is_not_unpacked_and_leaves_no_cookie(plain: Served) -> None:
    images = store([plain.root])
    assert read(images, f"{plain.root}/img/packed.jpg") == b"\x1f\x8b\x08" + bytes(20)
    for _ in range(2):
        assert read(images, f"{plain.root}/img/cookie.jpg") == PICTURE
    assert "Cookie" not in plain.handler.headers_seen


def test_a_server_that_takes_its_time_is_left(plain: Served) -> None:
    assert read(store([plain.root], IMPATIENT), f"{plain.root}/img/slow.jpg") == "unreachable"


def test_a_busy_server_is_asked_again_and_an_absent_picture_is_not(plain: Served) -> None:
    images = store([plain.root])
    assert read(images, f"{plain.root}/img/flaky.jpg") == PICTURE
    assert read(images, f"{plain.root}/img/broken.jpg") == "unreachable"
    assert read(images, f"{plain.root}/img/absent.jpg") == "not_found"
    assert plain.asked == {"/img/flaky.jpg": 2, "/img/broken.jpg": 2, "/img/absent.jpg": 1}


def test_no_attempt_begins_after_the_end_of_a_batch(plain: Served) -> None:
    assert read(store([plain.root]), f"{plain.root}/img/ok.jpg", seconds=0) == "unreachable"
    assert plain.asked == {}


def test_nobody_listens() -> None:
    images = store(["http://localhost:9"])
    assert read(images, "http://localhost:9/1.jpg") == "unreachable"


def test_many_at_once(plain: Served) -> None:
    images = store([plain.root])
    found: list[bytes | str] = []
    readers = [
        threading.Thread(target=lambda: found.append(read(images, f"{plain.root}/img/ok.jpg"))) for _ in range(24)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == [PICTURE] * 24


def test_files(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "folder").mkdir(parents=True)
    (inside / "ok.jpg").write_bytes(PICTURE)
    (inside / "large.jpg").write_bytes(bytes(100_001))
    (inside / "largest.jpg").write_bytes(bytes(100_000))
    (inside / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "secret.jpg").write_bytes(PICTURE)
    (inside / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    images = store([inside.as_uri()])
    wanted = {
        "ok.jpg": PICTURE,
        "largest.jpg": bytes(100_000),
        "large.jpg": "too_large",
        "absent.jpg": "not_found",
        "folder": "not_found",
        "ok.jpg/x": "not_found",
        "zero.jpg": "refused",
        "link.jpg": "refused",
        "../secret.jpg": "refused",
    }
    assert {name: read(images, f"{inside.as_uri()}/{name}") for name in wanted} == wanted
    devices = store(["file:///dev"])
    assert read(devices, "file:///dev/zero") == "not_found", "it would never end"


def test_relative_addresses_are_read_from_their_base(tmp_path: Path) -> None:
    (tmp_path / "in" / "img").mkdir(parents=True)
    (tmp_path / "in" / "img" / "ok.jpg").write_bytes(PICTURE)
    (tmp_path / "secret.jpg").write_bytes(PICTURE)
    images = ImageStore(AllowList([], tmp_path / "in"), LIMITS)
    assert read(images, "img/ok.jpg") == PICTURE
    assert read(images, "../secret.jpg") == "refused"
    assert read(images, str(tmp_path / "secret.jpg")) == "refused"
    assert read(images, "img/absent.jpg") == "not_found"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="pictures")
    for key, body in {"a/ok.jpg": PICTURE, "a/large.jpg": bytes(100_001), "b/ok.jpg": PICTURE}.items():
        client.put_object(Bucket="pictures", Key=key, Body=body)
    client.close()
    yield "s3://pictures/a"
    server.stop()


def test_pictures_in_s3(bucket: str) -> None:
    images = store([bucket])
    assert read(images, f"{bucket}/ok.jpg") == PICTURE
    assert read(images, f"{bucket}/large.jpg") == "too_large"
    assert read(images, f"{bucket}/absent.jpg") == "not_found"
    assert read(images, "s3://pictures/b/ok.jpg") == "refused"
    assert read(store(["s3://nosuchbucket"]), "s3://nosuchbucket/1.jpg") == "not_found"


def test_s3_without_its_extra_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"extra `s3`"):
        store(["https://localhost", "s3://pictures"])
    store(["https://localhost"])


def test_certificates_that_are_none_are_a_settings_error(tmp_path: Path) -> None:
    for content in (None, b"no certificate"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"images\.ca_file"):
            store(["https://localhost"], ca_file=path)
