"""How a model is run: which provider takes it, what is said of the others, and its first runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from consumer.adapters.onnx_session import CPU, CUDA, PREFERENCE, TENSORRT, Session
from consumer.adapters.tensorrt import Shapes, tensorrt_options
from consumer.errors import ModelError

FOLDER = Path(__file__).parents[2] / "models" / "onnx" / "all-minilm-l6-v2"
MODEL = (FOLDER / "model.onnx").read_bytes()
SHAPES = Shapes(*({"input_ids": shape, "attention_mask": shape} for shape in ((1, 1), (2, 3), (8, 64))))


def session(providers: Sequence[str] | None = (CPU,), shapes: Shapes | None = SHAPES) -> Session:
    return Session(MODEL, FOLDER, providers=providers, threads=1, shapes=shapes)


def test_the_better_provider_is_preferred_and_each_passed_over_has_its_reason() -> None:
    chosen = session(None)
    better = PREFERENCE[: PREFERENCE.index(chosen.provider)]
    assert [reason.split(": ")[0] for reason in chosen.passed_over] == list(better)
    assert all(reason.split(": ", 1)[1] for reason in chosen.passed_over)


def test_the_order_is_the_users() -> None:
    chosen = session([CPU, CUDA, TENSORRT])
    assert (chosen.provider, chosen.passed_over) == (CPU, ())
    assert session(["NoSuchProvider", CPU]).passed_over == ("NoSuchProvider: not in this build of onnxruntime",)


def test_when_none_works_every_reason_is_given() -> None:
    with pytest.raises(ModelError) as raised:
        session(["NoSuchProvider", "NorThis"])
    for said in ("NoSuchProvider: not in this build", "NorThis: not in this build", f"add {CPU}"):
        assert said in str(raised.value)


@pytest.mark.parametrize("provider", [TENSORRT, CUDA])
def test_a_provider_whose_libraries_are_missing_is_passed_over_quietly(
    provider: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a machine that has a device and a driver, but not what CUDA needs beside them."""
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"{provider} is not in this build of onnxruntime")
    opened = session()
    fault = opened._open(MODEL, provider, 1, tmp_path)
    assert bool(fault) == (opened._session.get_providers()[0] != provider)
    assert not fault or "libraries could not be loaded" in fault
    assert capfd.readouterr() == ("", "")


def test_the_first_runs_are_done_before_anyone_waits() -> None:
    warmed = session()
    warmed.warm_up()
    ones = np.ones((2, 3), np.int64)
    once = warmed.run("embedding", {"input_ids": ones, "attention_mask": ones})
    assert once.shape == (2, 64)
    assert np.array_equal(once, session(shapes=None).run("embedding", {"input_ids": ones, "attention_mask": ones}))


def test_shapes_that_the_model_does_not_take_fail_before_ready() -> None:
    wrong = Shapes({"input_ids": (1, 1)}, {"input_ids": (1, 1)}, {"input_ids": (1, 1)})
    with pytest.raises(ModelError, match="attention_mask"):
        session(shapes=wrong).warm_up()


def test_tensorrt_is_told_the_range_of_shapes_and_where_to_keep_engines(tmp_path: Path) -> None:
    options = tensorrt_options(MODEL, FOLDER, SHAPES, tmp_path / "engines")
    assert options["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert options["trt_profile_opt_shapes"] == "input_ids:2x3,attention_mask:2x3"
    assert options["trt_profile_max_shapes"] == "input_ids:8x64,attention_mask:8x64"
    assert options["trt_fp16_enable"] == "False"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    other = tensorrt_options(MODEL + b"\0", FOLDER, SHAPES, tmp_path / "engines")
    assert other["trt_engine_cache_path"] != options["trt_engine_cache_path"]
    assert not [name for name in tensorrt_options(MODEL, FOLDER, None, tmp_path) if "profile" in name]


def test_where_nothing_can_be_written_tensorrt_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, where a folder is wanted")
    for nowhere in (None, tmp_path / "state" / "engines"):
        assert not [name for name in tensorrt_options(MODEL, FOLDER, SHAPES, nowhere) if "cache" in name]


@pytest.mark.parametrize(
    ("variant", "half"), [("fp16-compute", "True"), ("fp16", "False"), ("int8", "False"), ("fp32", "False")]
)
def test_half_precision_is_for_models_that_were_measured_in_it(variant: str, half: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"variant": variant}))
    assert tensorrt_options(MODEL, tmp_path, SHAPES, None)["trt_fp16_enable"] == half
