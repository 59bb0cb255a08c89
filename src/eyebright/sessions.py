"""What runs a bundle's graph: ONNX Runtime, or OpenVINO where it is installed. No torch.

Whichever it is must say what the bundle said where it was made: `check_session` replays the golden samples.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from eyebright.bundle import ONNX_FILE, Bundle
from eyebright.errors import CorruptBundleError, MissingDependencyError, UsageError, VerificationError, did_you_mean

Floats = npt.NDArray[np.float32]
Spinning = Literal["in a call", "never"]
RUNTIMES = ("auto", "onnx", "openvino")
DEVICES = ("cpu", "cuda")
CUDA_PROVIDER = "CUDAExecutionProvider"
PROBABILITY_TOLERANCE = 1e-4
TRIAL_ROUNDS = 5
# A change of runtime should be worth its compilation, and a trial of this length errs by some per cent.
WORTH_CHANGING = 1.1


class Session(Protocol):
    """A graph, ready to run. May be called from many threads.

    Attributes:
        runtime: `onnx`, `openvino` or `torch`.
        outputs: names of what it gives.
    """

    runtime: str
    outputs: tuple[str, ...]

    def run(self, outputs: Sequence[str], pixels: npt.NDArray[np.uint8]) -> list[Floats]:
        """The named outputs, float32 (N, ...), for pixels (N, size, size, channels)."""
        ...


class OnnxSession:
    """The graph on ONNX Runtime.

    Args:
        graph: the ONNX file.
        threads: that share one call; 0 leaves it to ONNX Runtime (all cores).
        spinning: threads that wait for their share may spin, which makes a call for a single image faster by half,
            but only while a call runs; `never` where other threads decode at the same time and need the cores.
        provider: of ONNX Runtime.
    """

    runtime = "onnx"

    def __init__(
        self,
        graph: bytes,
        *,
        threads: int = 0,
        spinning: Spinning = "in a call",
        provider: str = "CPUExecutionProvider",
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if spinning == "never" else "1")
        # Without it they spin on after the call: 34 ms of CPU time for each of them were measured.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def run(self, outputs: Sequence[str], pixels: npt.NDArray[np.uint8]) -> list[Floats]:
        """See `Session`."""
        found: list[Floats] = self._session.run(list(outputs), {"pixels": pixels})
        return found


class OpenVinoSession:
    """The graph on OpenVINO, on the CPU, in float32.

    Raises:
        MissingDependencyError: the package openvino is not installed.
    """

    runtime = "openvino"

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        if not is_openvino_installed():
            raise MissingDependencyError(
                "the package openvino is not installed",
                expected="openvino, for --runtime openvino",
                remedy='pip install "eyebright[openvino]", or leave --runtime out: ONNX Runtime is there',
            )
        import openvino

        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(graph, b""), "CPU", settings)
        self._position = {output.get_any_name(): index for index, output in enumerate(self._model.outputs)}
        self.outputs = tuple(self._position)

    def run(self, outputs: Sequence[str], pixels: npt.NDArray[np.uint8]) -> list[Floats]:
        """See `Session`."""
        found = self._model.create_infer_request().infer({"pixels": pixels})
        return [np.array(found[self._position[name]], dtype=np.float32) for name in outputs]


def is_openvino_installed() -> bool:
    """Whether it can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def has_cuda_provider() -> bool:
    """Whether the ONNX Runtime that is installed was built for CUDA."""
    return CUDA_PROVIDER in onnxruntime.get_available_providers()


def open_session(
    bundle: Bundle,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    threads: int = 0,
    spinning: Spinning = "in a call",
) -> Session:
    """The bundle's graph on a runtime.

    Args:
        bundle: the checked bundle.
        runtime: `onnx` or `openvino`; `auto` measures both where both are installed.
        device: `cpu`, or `cuda` for the CUDA provider of ONNX Runtime.
        threads: see `OnnxSession`.
        spinning: see `OnnxSession`.

    Raises:
        UsageError: no such runtime or device, or not together.
        MissingDependencyError: it is not installed.
        CorruptBundleError: the graph does not run.
    """
    check_choice(runtime, device)
    graph = bundle.file(ONNX_FILE).read_bytes()
    if device == "cuda":
        if not has_cuda_provider():
            raise MissingDependencyError(
                f"ONNX Runtime {onnxruntime.__version__} is installed without its CUDA provider",
                expected="the package onnxruntime-gpu, for --device cuda",
                remedy="pip install onnxruntime-gpu in place of onnxruntime, or leave --device out",
            )
        return _made(bundle, lambda: OnnxSession(graph, provider=CUDA_PROVIDER))
    if runtime == "openvino" or (runtime == "auto" and is_openvino_installed()):
        other = _made(bundle, lambda: OpenVinoSession(graph, threads=threads))
        if runtime == "openvino":
            return other
    usual = _made(bundle, lambda: OnnxSession(graph, threads=threads, spinning=spinning))
    if runtime == "onnx" or not is_openvino_installed():
        return usual
    pixels = bundle.golden().pixels
    seconds = {session.runtime: _trial_seconds(session, pixels) for session in (usual, other)}
    return other if seconds["onnx"] > WORTH_CHANGING * seconds["openvino"] else usual


def check_choice(runtime: str, device: str) -> None:
    """Make sure that there is such a runtime on such a device.

    Raises:
        UsageError: there is none.
    """
    for received, known, what in ((runtime, RUNTIMES, "runtime"), (device, DEVICES, "device")):
        if received not in known:
            raise UsageError(
                f"unknown {what} {received!r}{did_you_mean(received, known)}", expected=f"one of {', '.join(known)}"
            )
    if device == "cuda" and runtime == "openvino":
        raise UsageError("openvino was asked for on cuda", expected="--runtime openvino on the CPU")


def _made(bundle: Bundle, make: Any) -> Session:
    try:
        session: Session = make()
    except MissingDependencyError:
        raise
    except Exception as error:  # runtimes raise families of their own, without a common public base
        raise CorruptBundleError(f"{bundle.file(ONNX_FILE)} is not a graph that runs here: {error}") from error
    return session


def _trial_seconds(session: Session, pixels: npt.NDArray[np.uint8]) -> float:
    """The shortest of a few calls, after one that does not count."""
    pixels = np.resize(pixels, (32, *pixels.shape[1:]))
    seconds = []
    for _ in range(1 + TRIAL_ROUNDS):
        began = time.perf_counter()
        session.run(["probabilities"], pixels)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a session compares with the golden samples.

    Attributes:
        samples: replayed.
        largest_difference: of a probability; infinite when one is not finite.
        flips: samples whose most probable class changed.
    """

    samples: int
    largest_difference: float
    flips: int


def agreement(bundle: Bundle, session: Session) -> Agreement:
    """Replay the golden samples."""
    golden = bundle.golden()
    (probabilities,) = session.run(["probabilities"], golden.pixels)
    difference = np.abs(probabilities - golden.probabilities)
    return Agreement(
        samples=len(golden.ids),
        # NaN compares false with any tolerance: a session that gives NaN must fail.
        largest_difference=float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf"),
        flips=int((probabilities.argmax(axis=1) != golden.probabilities.argmax(axis=1)).sum()),
    )


def check_session(bundle: Bundle, session: Session, *, tolerance: float = PROBABILITY_TOLERANCE) -> None:
    """Make sure that a session says what the bundle said where it was made.

    Raises:
        VerificationError: it does not.
    """
    found = agreement(bundle, session)
    if found.largest_difference > tolerance or found.flips:
        raise VerificationError(
            f"{session.runtime} does not give what {bundle.path} gave when it was made: largest difference "
            f"{found.largest_difference:.2g} with {found.flips} changed answers in {found.samples} samples",
            expected=f"differences of at most {tolerance:g} in probability, and no changed answer",
            remedy="use another --runtime or --device, or install the versions that bundle.json lists",
        )
