"""A bundle's network run by torch, for CUDA: compiled, in bfloat16 where that gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from eyebright.bundle import Bundle
from eyebright.errors import MissingDependencyError
from eyebright.export.onnx import PixelsToOutputs
from eyebright.models.catalog import restore_network
from eyebright.progress import Progress
from eyebright.sessions import PROBABILITY_TOLERANCE, Floats, agreement, check_session

# bfloat16 has 8 bits of precision: probabilities near 0.5 move by up to about a hundredth.
BFLOAT16_TOLERANCE = 0.02
_OUTPUTS = ("probabilities", "logits", "features")


class TorchSession:
    """The network on a device.

    Args:
        bundle: the checked bundle.
        device: any of torch's.
        bfloat16: run the network in bfloat16; logits and what follows stay in float32.
        compiled: by `torch.compile`, once for any number of images.
    """

    runtime = "torch"

    def __init__(self, bundle: Bundle, device: str, *, bfloat16: bool, compiled: bool) -> None:
        record = bundle.record
        self._calibration = record.decisions.calibration
        self._device = torch.device(device)
        self._bfloat16 = bfloat16
        whole = PixelsToOutputs(restore_network(bundle).eval(), record.preprocess).to(self._device).eval()
        with torch.inference_mode():
            size, channels = record.preprocess.size, record.preprocess.channels
            probe = torch.zeros((1, size, size, channels), dtype=torch.uint8, device=self._device)
            self.outputs = _OUTPUTS[: 1 + len(tuple(whole(probe)))]
        self._network = torch.compile(whole, dynamic=True) if compiled else whole

    def run(self, outputs: Sequence[str], pixels: npt.NDArray[np.uint8]) -> list[Floats]:
        """See `sessions.Session`."""
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bfloat16),
        ):
            given = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
            logits, *features = (output.float().cpu().numpy() for output in self._network(given))
        probabilities = self._calibration.probabilities(logits).astype(np.float32)
        found = dict(zip(_OUTPUTS, (probabilities, logits, *features), strict=False))
        return [found[name] for name in outputs]


def checked_torch_session(bundle: Bundle, device: str, progress: Progress) -> TorchSession:
    """The network by torch, compiled, in bfloat16 where it agrees with the golden samples, else in float32.

    Raises:
        MissingDependencyError: this torch has no CUDA, or the machine has no such device.
        VerificationError: float32 does not agree either.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError(
            f"torch {torch.__version__} finds no CUDA device, and ONNX Runtime is without its CUDA provider",
            expected="a GPU with its driver, for --device cuda",
            remedy="leave --device out to run on the CPU",
        )
    session = TorchSession(bundle, device, bfloat16=True, compiled=True)
    found = agreement(bundle, session)
    if found.largest_difference <= BFLOAT16_TOLERANCE and not found.flips:
        progress.note(
            f"torch runs the network on {device} in bfloat16: probabilities differ from the recorded ones by at most "
            f"{found.largest_difference:.3f}"
        )
        return session
    progress.note(
        f"bfloat16 differs from the recorded probabilities by {found.largest_difference:.3f} with {found.flips} "
        "changed answers: float32 is used"
    )
    session = TorchSession(bundle, device, bfloat16=False, compiled=True)
    check_session(bundle, session, tolerance=10 * PROBABILITY_TOLERANCE)  # TF32 is left as the user has set it
    return session
