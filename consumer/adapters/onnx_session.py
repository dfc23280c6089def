"""One ONNX model, loaded on the best execution provider that works, and the digests that vouch for its files."""

import contextlib
import ctypes
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from consumer.errors import ModelError
from consumer.records import Floats

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(state for state in vars(states).values() if isinstance(state, type) and issubclass(state, Exception)),
)
"""What onnxruntime raises: classes of its own, which have no common parent, and what pybind11 makes of C++ errors."""

_FATAL, _ERROR, _WARNING = 4, 3, 2


class Session:
    """One model, loaded. Raises ModelError when no wanted provider can run it."""

    def __init__(self, model: bytes, model_dir: Path, *, providers: Sequence[str] | None, threads: int) -> None:
        """`providers` in the order of preference; None means CUDA, then the CPU. `threads` are those of one run."""
        self._model_dir = model_dir
        wanted = (CUDA, CPU) if providers is None else tuple(providers)
        faults = []
        for provider in wanted:
            session, fault = _open(model, provider, threads)
            if session is not None:
                self._session = session
                self.provider = provider
                return
            faults.append(f"{provider}: {fault}")
        raise ModelError(
            f"{model_dir / 'model.onnx'}: no provider can run it ({'; '.join(faults) or 'none was named'}); "
            f"add {CPU} to the providers, or install what is missing"
        )

    def run(self, output: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
        """One forward pass. Raises ModelError."""
        try:
            (values,) = self._session.run([output], dict(inputs))
        except _FAILURES as error:
            shapes = {name: value.shape for name, value in inputs.items()}
            raise ModelError(
                f"{self._model_dir / 'model.onnx'}: failed on {self.provider} with inputs {shapes}: {error}; "
                "lower the batch size if memory ran out"
            ) from error
        return np.asarray(values, np.float32)


def _open(model: bytes, provider: str, threads: int) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session that really uses `provider`, or None and why not."""
    if provider not in onnxruntime.get_available_providers():
        return None, "not in this build of onnxruntime"
    if provider == CUDA and not _has_cuda_device():
        return None, "no NVIDIA driver or no device"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    # TF32 would make a GPU's vectors differ from a CPU's in the third digit.
    settings = {"use_tf32": "0"} if provider == CUDA else {}
    try:
        with _quiet() if provider != CPU else contextlib.nullcontext():
            if provider == CUDA:
                onnxruntime.preload_dlls()
            session = onnxruntime.InferenceSession(model, options, providers=[(provider, settings)])
    except _FAILURES as error:
        return None, str(error).splitlines()[0]
    if session.get_providers()[0] != provider:
        return None, "its libraries could not be loaded; are CUDA and cuDNN installed?"
    return session, ""


def _has_cuda_device() -> bool:
    """Ask the driver: onnxruntime lists CUDA where it was built for it, whether or not there is any."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No print and no log line of a provider that is only being tried; what failed is in our own message."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file whose digest is known. Raises ModelError when it is missing or another."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); export the model again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path}: its SHA-256 is {found}, spec.json says {sha256}; "
            "restore the file (a Git LFS pointer looks like this), or export the model again"
        )
    return content
