"""What may be read and what may not: every trick that makes one address look like another."""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.allow_list import AllowList, address_of
from consumer.errors import SettingsError

WEB = AllowList(["https://good.example.com/img/", "s3://pictures/public", "http://plain.example.com:8080"])


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("https://good.example.com/img/1.jpg", "https://good.example.com/img/1.jpg"),
        ("HTTPS://GOOD.example.com:443/img/1.jpg", "https://good.example.com/img/1.jpg"),
        ("https://good.example.com/%69mg/a%20b.jpg", "https://good.example.com/img/a%20b.jpg"),
        ("https://good.example.com/img/caf\u00e9.jpg", "https://good.example.com/img/caf%C3%A9.jpg"),
        ("https://good.example.com/img/1.jpg?w=9&sig=a%2Fb#top", "https://good.example.com/img/1.jpg?w=9&sig=a%2Fb"),
        ("https://good.example.com/img/..jpg", "https://good.example.com/img/..jpg"),
        ("https://good.example.com/img//1.jpg", "https://good.example.com/img//1.jpg"),
        ("http://plain.example.com:8080/any/1.jpg", "http://plain.example.com:8080/any/1.jpg"),
        ("s3://pictures/public/a/%41.jpg", "s3://pictures/public/a/%41.jpg"),
    ],
)
def test_what_a_prefix_covers(uri: str, sent: str) -> None:
    address = WEB.admit(uri)
    assert address is not None
    assert address.url == sent


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "1.jpg",
        "/etc/passwd",
        "//good.example.com/img/1.jpg",
        "https:good.example.com/img/1.jpg",
        "https:///good.example.com/img/1.jpg",
        "https://good.example.com",
        "https://good.example.com/",
        "https://good.example.com/imgx/1.jpg",
        "https://good.example.com/IMG/1.jpg",
        "http://good.example.com/img/1.jpg",
        "http://plain.example.com/1.jpg",
        "https://plain.example.com:8080/1.jpg",
        "https://good.example.com:8443/img/1.jpg",
        "https://good.example.com:99999/img/1.jpg",
        "https://good.example.com:/img/../x",
        "https://good.example.com.evil.com/img/1.jpg",
        "https://evil.com/good.example.com/img/1.jpg",
        "https://good.example.com@evil.com/img/1.jpg",
        "https://user:password@good.example.com/img/1.jpg",
        "https://good.example.com:443@evil.com/img/1.jpg",
        "https://evil.com#@good.example.com/img/1.jpg",
        "https://evil.com?@good.example.com/img/1.jpg",
        "https://evil.com\\@good.example.com/img/1.jpg",
        "https://good.example.com\\img/1.jpg",
        "https://good.example.com./img/1.jpg",
        "https://good.example.com%2eevil.com/img/1.jpg",
        "https://good.example\u3002com/img/1.jpg",
        "https://g\u00f6od.example.com/img/1.jpg",
        "https://good.example.com/img/../secret",
        "https://good.example.com/img/./1.jpg",
        "https://good.example.com/img/%2e%2e/secret",
        "https://good.example.com/img/.%2E/secret",
        "https://good.example.com/img/%252e%252e/secret",
        "https://good.example.com/img/%25252e%25252e%25252fsecret",
        "https://good.example.com/img/..%2fsecret",
        "https://good.example.com/img/a%2fb",
        "https://good.example.com/img/a%5cb",
        "https://good.example.com/img/a%00.jpg",
        "https://good.example.com/img/a%ff.jpg",
        "https://good.example.com/img/a\n.jpg",
        "https://good.example.com/img/a .jpg",
        "https://good.example.com/img/\t../1.jpg",
        "https://[::1]/img/1.jpg",
        "https://127.0.0.1/img/1.jpg",
        "https://2130706433/img/1.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "file://good.example.com/img/1.jpg",
        "ftp://good.example.com/img/1.jpg",
        "gopher://good.example.com/img/1.jpg",
        "data:image/png;base64,AAAA",
        "s3://pictures/private/1.jpg",
        "s3://pictures/public/../private/1.jpg",
        "s3://pictures/public/%2e%2e/private/1.jpg",
        "s3://pictures-private/public/1.jpg",
        "s3://pictures/public/1.jpg?versionId=3",
        "s3://arn:aws:s3:::pictures/public/1.jpg",
        "local://good.example.com/img/1.jpg",
        "simplecache::https://good.example.com/img/1.jpg",
        "zip://1.jpg::https://good.example.com/img/a.zip",
        "https://good.example.com/img/a.zip::file:///etc/passwd/..",
    ],
)
def test_what_no_prefix_covers(uri: str) -> None:
    assert WEB.admit(uri) is None


def test_nothing_is_allowed_by_default() -> None:
    for uri in ("https://good.example.com/1.jpg", "file:///etc/passwd", "s3://pictures/1.jpg", "1.jpg"):
        assert AllowList([]).admit(uri) is None


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "*", "good.example.com", "https://*.example.com", "https://", "https://u@good.example.com", "ftp://a/b"),
        *("https://good.example.com/a/../b", "https://good.example.com/?a", "https://good.example.com/#a", "/data"),
    ],
)
def test_a_prefix_that_is_none_is_a_settings_error(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"images\.allow"):
        AllowList(["https://good.example.com", prefix])


def test_files_stay_in_their_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-private"
    inside.mkdir()
    outside.mkdir()
    for path in (inside / "a b.jpg", outside / "s.jpg"):
        path.write_bytes(b"x")
    (inside / "link.jpg").symlink_to(outside / "s.jpg")
    (inside / "up").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "fine.jpg").symlink_to(inside / "a b.jpg")
    allowed = AllowList([inside.as_uri()])

    def real(name: str) -> str | None:
        address = allowed.admit(f"file://{inside}/{name}")
        return address.url if address else None

    assert real("a%20b.jpg") == real("fine.jpg") == f"file://{inside}/a b.jpg"
    for name in ("link.jpg", "up/s.jpg", "../in-private/s.jpg", "%2e%2e/in-private/s.jpg", "loop/x"):
        assert real(name) is None
    assert allowed.admit(f"file://{outside}/s.jpg") is None
    assert allowed.admit(f"file://localhost{inside}/fine.jpg") is not None
    assert allowed.admit("fine.jpg") is None


def test_relative_addresses_stay_in_their_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "img").mkdir(parents=True)
    (base / "img" / "1%20.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (base / "out").symlink_to(tmp_path)
    allowed = AllowList([], base)
    found = allowed.admit("img/1%20.jpg")
    assert found is not None
    assert found.segments[-2:] == ("img", "1%20.jpg"), "a path, taken as it is written"
    assert allowed.admit("img/../img/1%20.jpg") == found
    for uri in ("../secret.jpg", "out/secret.jpg", str(tmp_path / "secret.jpg"), "/etc/passwd", "a\0b", "~/x"):
        address = allowed.admit(uri)
        assert address is None or (uri == "~/x" and address.segments[-2:] == ("~", "x"))
    assert allowed.admit("https://good.example.com/1.jpg") is None
    assert allowed.admit((base / "img" / "1%20.jpg").as_uri()) is None, "only relative addresses are allowed implicitly"


SEGMENTS = st.text(st.sampled_from("ab.%2eE5cfF/\\:@?#&= \t\u00e9\0"), max_size=12)


@given(st.sampled_from(["https", "s3", "http", "file"]), st.lists(SEGMENTS, max_size=5))
def test_what_is_sent_is_under_a_prefix(scheme: str, parts: list[str]) -> None:
    prefixes = {
        "https": "https://h.example/p",
        "s3": "s3://bucket/p",
        "http": "http://h.example/p",
        "file": "file:///srv",
    }
    allowed = AllowList([prefixes[scheme]])
    address = allowed.admit(f"{prefixes[scheme]}/{'/'.join(parts)}")
    if address is not None:
        assert f"{address.url}/".startswith(f"{prefixes[scheme]}/")
        sent = address.url
        for _ in range(5):
            path = urlsplit(sent).path if scheme != "s3" else sent.removeprefix("s3://bucket")
            assert not {".", ".."} & set(path.replace("\\", "/").split("/"))
            sent = unquote(sent) if scheme in {"https", "http"} else sent


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_none(text: str) -> None:
    assert WEB.admit(text) is None or text.lower().startswith(("https://", "http://", "s3://"))
    for start in ("https://", "file:///", "s3://"):
        address_of(start + text)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_an_address_survives_being_sent(segments: list[str]) -> None:
    try:
        uri = "https://h.example/" + "/".join(quote(segment, safe="") for segment in segments)
    except UnicodeEncodeError:
        return  # half a surrogate pair
    address = address_of(uri)
    assert address is None or address_of(address.url) == address
