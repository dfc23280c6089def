"""One ONNX model, loaded on the best execution provider that works, and the digests that vouch for its files."""

import contextlib
import ctypes
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from consumer.adapters.tensorrt import Shape, Shapes, tensorrt_options
from consumer.errors import ModelError
from consumer.records import Floats

TENSORRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
PREFERENCE = (TENSORRT, CUDA, CPU)
_NVIDIA = frozenset({TENSORRT, CUDA})

_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(state for state in vars(states).values() if isinstance(state, type) and issubclass(state, Exception)),
)
"""What onnxruntime raises: classes of its own, which have no common parent, and what pybind11 makes of C++ errors."""

_CUDA_OPTIONS = {"use_tf32": "0"}
"""TF32 would make a GPU's vectors differ from a CPU's in the third digit."""
_KINDS: Final[Mapping[str, type[np.generic]]] = {
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
}
"""What our graphs take."""

_NO_LIBRARIES = (
    "its libraries could not be loaded; are CUDA and cuDNN, and for TensorRT libnvinfer, on the library path?"
)
_FATAL, _ERROR, _WARNING = 4, 3, 2


class Session:
    """One model, loaded. Raises ModelError when no wanted provider can run it."""

    def __init__(
        self,
        model: bytes,
        model_dir: Path,
        *,
        providers: Sequence[str] | None,
        threads: int,
        shapes: Shapes | None = None,
        engines: Path | None = None,
    ) -> None:
        """`providers` in the order of preference; None means PREFERENCE. `threads` are those of one run.

        `shapes` are what will be asked; without them nothing is warmed up, and TensorRT builds again whenever a batch
        is larger than any before. `engines` is where TensorRT keeps what it built; without it, it builds at every start, for minutes.
        """
        self._model_dir = model_dir
        self._shapes = shapes
        faults: list[str] = []
        for provider in PREFERENCE if providers is None else providers:
            fault = _obstacle(provider) or self._open(model, provider, threads, engines)
            if not fault:
                self.provider = provider
                self.passed_over: Sequence[str] = tuple(faults)
                """`<provider>: <why not>` of each that was preferred to the one in use."""
                return
            faults.append(f"{provider}: {fault}")
        raise ModelError(
            f"{model_dir / 'model.onnx'}: no provider can run it ({'; '.join(faults) or 'none was named'}); "
            f"add {CPU} to the providers, or install what is missing"
        )

    def _open(self, model: bytes, provider: str, threads: int, engines: Path | None) -> str:
        """Load the model on a provider; why it does not run there, or nothing."""
        wanted: dict[str, Mapping[str, str]] = {provider: _CUDA_OPTIONS if provider == CUDA else {}}
        if provider == TENSORRT:
            # CUDA runs the parts of a graph that TensorRT does not know.
            wanted = {TENSORRT: tensorrt_options(model, self._model_dir, self._shapes, engines), CUDA: _CUDA_OPTIONS}
            # TensorRT has no option for what _CUDA_OPTIONS say.
            os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        self.on_gpu = provider in _NVIDIA
        try:
            with _quiet() if provider != CPU else contextlib.nullcontext():
                if provider in _NVIDIA:
                    onnxruntime.preload_dlls()
                self._session = onnxruntime.InferenceSession(
                    model, _options(threads), providers=list(wanted.items()), enable_fallback=0
                )
                if self._session.get_providers()[0] != provider:
                    return _NO_LIBRARIES
                if provider != CPU and self._shapes is not None:
                    # A provider may load and yet not run this graph.
                    self._run(self._session.get_outputs()[0].name, self._ones(self._shapes.smallest))
        except _FAILURES as error:
            return _NO_LIBRARIES if "install TensorRT" in str(error) else str(error).splitlines()[0]
        return ""

    def run(self, output: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
        """One forward pass. Raises ModelError."""
        try:
            values = self._run(output, inputs)
        except _FAILURES as error:
            shapes = {name: value.shape for name, value in inputs.items()}
            raise ModelError(
                f"{self._model_dir / 'model.onnx'}: failed on {self.provider} with inputs {shapes}: {error}; "
                "lower the batch size if memory ran out"
            ) from error
        return np.asarray(values, np.float32)

    def warm_up(self) -> None:
        """Run once at the shapes that will come, so that no message waits for what is made at a first run.

        The largest only where memory is bought by shape: a processor would take seconds for it and learn nothing.
        Raises ModelError.
        """
        if self._shapes is None:
            return
        chosen = [self._shapes.smallest, self._shapes.usual]
        if self.on_gpu:
            chosen.append(self._shapes.largest)
        for shape in chosen:
            self.run(self._session.get_outputs()[0].name, self._ones(shape))

    def _run(self, output: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
        """On a GPU, inputs go to the device once; the output stays there until all of it is copied back at once."""
        if not self.on_gpu:
            (made,) = self._session.run([output], dict(inputs))
            return np.asarray(made)
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
        binding.bind_output(output, "cuda", 0)
        self._session.run_with_iobinding(binding)
        values: npt.NDArray[np.generic] = binding.copy_outputs_to_cpu()[0]
        return values

    def _ones(self, shape: Shape) -> dict[str, npt.NDArray[np.generic]]:
        """Inputs of a shape: a token, a mask that hides none, a dark pixel."""
        kinds = {given.name: _KINDS[given.type] for given in self._session.get_inputs()}
        return {name: np.ones(tuple(dimensions), kinds[name]) for name, dimensions in shape.items()}


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    # Threads that wait in a loop took up to twice the processor time on shared cores, and gained no time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _obstacle(provider: str) -> str:
    """What is known to stand against a provider, asked before onnxruntime prints about it; empty when nothing is."""
    if provider not in onnxruntime.get_available_providers():
        return "not in this build of onnxruntime"
    if provider in _NVIDIA and not _has_cuda_device():
        return "no NVIDIA driver or no device"
    return ""


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
