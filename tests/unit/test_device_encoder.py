"""Laws of the device encoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.device_encoder import DeviceEncoder
from consumer.errors import SettingsError

ENCODER = DeviceEncoder("browser", "os")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
ROWS = st.fixed_dictionaries({}, optional={"browser": ANY_TEXT, "os": ANY_TEXT})

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.1 Mobile/15E148 Safari/604.1"
)
EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Mobile Safari/537.36"
)


def cosine(a: dict[str, str], b: dict[str, str]) -> float:
    rows = ENCODER.encode([a, b]).vectors
    return float(rows[0] @ rows[1])


def device(browser: str, system: str) -> dict[str, str]:
    return {"browser": browser, "os": system}


@given(st.lists(ROWS, max_size=8))
def test_batched_rows_are_bit_equal_to_single_ones(rows: list[dict[str, str]]) -> None:
    made = ENCODER.encode(rows)
    for i, row in enumerate(rows):
        single = ENCODER.encode([row])
        assert np.array_equal(made.vectors[i], single.vectors[0])
        assert made.present[i] == single.present[0]
        norm = float(np.linalg.norm(made.vectors[i]))
        assert norm == pytest.approx(1.0, abs=1e-5) if made.present[i] else norm == 0.0


def test_the_cosine_counts_what_is_shared() -> None:
    chrome_on_windows = device("Chrome", "Windows")
    assert cosine(chrome_on_windows, device("Chrome", "Windows")) == pytest.approx(1.0)
    assert cosine(chrome_on_windows, device("Chrome", "Android")) == pytest.approx(0.5)
    assert cosine(chrome_on_windows, device("Firefox", "Windows")) == pytest.approx(0.5)
    assert cosine(chrome_on_windows, device("Safari", "iOS")) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("written", "browser", "system"),
    [
        (device("Chrome 120.0", "Windows 11"), "Chrome", "Windows"),
        (device("Google Chrome", "win32"), "Chrome", "Windows"),
        (device("Mobile Safari/605", "iPadOS 17"), "Safari", "iOS"),
        (device("Mobile Safari", "iPhone OS 16.2"), "Safari", "iOS"),
        (device("Microsoft Edge", "Mac OS X 10.15"), "Edge", "macOS"),
        (device("Firefox 121", "Ubuntu 22.04"), "Firefox", "Linux"),
        (device("Samsung Internet 23", "Android 14"), "Samsung Internet", "Android"),
        (device("Opera", "Chrome OS"), "Opera", "CrOS"),
        ({"browser": IPHONE}, "Safari", "iOS"),
        ({"browser": EDGE}, "Edge", "Windows"),
        ({"browser": ANDROID}, "Chrome", "Android"),
        (device(ANDROID, ANDROID), "Chrome", "Android"),
    ],
)
def test_families_are_recognised(written: dict[str, str], browser: str, system: str) -> None:
    assert cosine(written, device(browser, system)) == pytest.approx(1.0)


def test_an_unknown_name_equals_itself_at_any_version() -> None:
    assert cosine(device("Lynx 2.8", "Haiku R1"), device("lynx/2.9", "haiku r2")) == pytest.approx(1.0)
    assert cosine(device("Lynx", "Windows"), device("Chrome", "Windows")) == pytest.approx(0.5)


def test_one_field_is_enough_and_none_is_absent() -> None:
    made = ENCODER.encode([{"browser": "Chrome"}, {"os": "iOS"}, {}, device("", " "), device("?", "42")])
    assert made.present.tolist() == [True, True, False, False, False]
    assert ENCODER.encode([]).vectors.shape == (0, ENCODER.dim)


def test_the_fingerprint_names_the_fields() -> None:
    assert ENCODER.fingerprint == DeviceEncoder("browser", "os").fingerprint
    assert ENCODER.fingerprint != DeviceEncoder("agent", "os").fingerprint
    with pytest.raises(SettingsError, match="two different fields"):
        DeviceEncoder("os", "os")
