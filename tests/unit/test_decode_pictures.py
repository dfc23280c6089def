"""Decoding of pictures, their addresses and prices: what is wrong with a message, and what is not its fault."""

import base64

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decode import MAX_IMAGE_BYTES, MAX_URI_CHARS, decode
from consumer.errors import RejectedError
from consumer.profile import load_profile
from consumer.records import Record
from tests.factories import message
from tests.strategies import any_value

LISTING = load_profile("listing")
SECRET = "zanzibar"


def fields(**value: object) -> dict[str, object]:
    record = decode(message(orjson.dumps(value)), LISTING)
    assert isinstance(record, Record)
    return dict(record.fields)


def reason(**value: object) -> str:
    with pytest.raises(RejectedError) as caught:
        decode(message(orjson.dumps(value)), LISTING)
    return str(caught.value)


@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans(), st.integers(0, 80))
def test_base64_of_either_alphabet_is_read(content: bytes, url_safe: bool, padded: bool, width: int) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(content).decode()
    text = text if padded else text.rstrip("=")
    if width:
        text = "\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    for prefix in ("", "data:image/jpeg;base64,", "DATA:image/svg+xml;charset=utf-8;base64,"):
        assert fields(image=prefix + text) == {"image": content}


@pytest.mark.parametrize("value", [None, "", "  ", "data:image/png;base64,", "===="])
def test_no_picture_is_missing(value: object) -> None:
    assert fields(image=value) == {}


@pytest.mark.parametrize(
    "value",
    [
        "?",
        "AAAAA",
        "Zm9v\u00e9",
        "Zg==Zg==",
        "Zm9v,Zm9v",
        "data:text/html;base64,Zm9v",
        "data:image/png,Zm9v",
        "\u0661" * 4,
    ],
)
def test_what_is_not_base64_is_rejected(value: str) -> None:
    assert reason(image=value) == "image: not base64"


@pytest.mark.parametrize(
    ("value", "kind"), [(7, "a number"), ([SECRET], "a list"), ({SECRET: 1}, "an object"), (True, "a truth value")]
)
def test_a_picture_of_another_type_is_rejected(value: object, kind: str) -> None:
    assert reason(image=value) == f"image: base64 text is wanted, this is {kind}"
    assert reason(image_uri=value) == f"image_uri: an address is wanted, this is {kind}"


def test_a_picture_up_to_the_limit_is_read_and_a_larger_one_rejected() -> None:
    most = bytes(MAX_IMAGE_BYTES)
    assert fields(image=base64.b64encode(most).decode()) == {"image": most}
    assert reason(image=base64.b64encode(most + b"abcdefgh").decode()) == "image: more than 10 MiB"


def test_bytes_that_are_no_picture_are_not_the_fault_of_the_message() -> None:
    assert fields(image=base64.b64encode(b"<html>").decode()) == {"image": b"<html>"}


def test_an_address_is_text_of_some_length() -> None:
    for uri in ("https://example.com/1.jpg", "img/1.jpg", "not an address"):
        assert fields(image_uri=f" {uri} ") == {"image_uri": uri}
    assert fields(image_uri="  ") == fields(image_uri=None) == {}
    assert fields(image_uri="x" * MAX_URI_CHARS) == {"image_uri": "x" * MAX_URI_CHARS}
    assert reason(image_uri=SECRET + "x" * MAX_URI_CHARS) == "image_uri: longer than 2,048 characters"


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("\u20ac 1.299,-", 1299.0),
        ("USD, $95.95", 95.95),
        ("\u20ac 958,08", 958.08),
        ("$4,748.84 CAD CAD", 4748.84),
        ("2.699,55 EUR", 2699.55),
        ("41,90", 41.9),
        ("1,299", 1299.0),
        ("12,345,678.90", 12_345_678.9),
        ("Rp 15.000.000", 15_000_000.0),
        ("kr 1 299,50", 1299.5),
        ("CHF 1'299.-", 1299.0),
        ("$5", 5.0),
    ],
)
def test_a_price_is_read_beside_its_currency(text: str, price: float) -> None:
    assert fields(price=text) == {"price": price}


@pytest.mark.parametrize(
    "text", ["from $5", "5 to 7", "12-15", "-5 EUR", "1.2.3.4", "call 555 123", "$" * 50 + "1", "$1,2,3"]
)
def test_a_text_that_names_no_single_price_is_missing(text: str) -> None:
    assert fields(price=text) == {}


@given(
    any_value(LISTING)
    | st.dictionaries(st.sampled_from(sorted(LISTING.fields)), st.text(max_size=60)).map(orjson.dumps)
)
@settings(max_examples=300)
def test_any_bytes_are_a_record_or_rejected(value: bytes | None) -> None:
    said = ""
    try:
        decode(message(value), LISTING)
    except RejectedError as error:
        said = str(error)
    assert len(said) < 200
