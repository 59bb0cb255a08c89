"""The classifier for a piece of work, on the runtime and device that the user asked for, checked before it is used.

torch is imported only where `cuda` was asked for and ONNX Runtime was installed without its CUDA provider.
"""

from __future__ import annotations

from pathlib import Path

from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.progress import Progress, Silent
from eyebright.sessions import Session, check_choice, check_session, has_cuda_provider, open_session

CPU_BATCH, CUDA_BATCH = 32, 256


def open_classifier(
    path: str | Path,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    beside_decoding: bool = False,
    progress: Progress | None = None,
) -> Classifier:
    """The classifier of a run or a bundle.

    Args:
        path: the folder of a run or of a bundle.
        runtime: one of `sessions.RUNTIMES`.
        device: one of `sessions.DEVICES`.
        beside_decoding: many images are to come; threads decode while the session runs.
        progress: told which runtime was chosen.

    Raises:
        UsageError: there is no such runtime or device.
        BundleError: there is no bundle, or it is corrupt, foreign or newer than this Eyebright.
        MissingDependencyError: the runtime or the device is not there.
        VerificationError: it gives other probabilities than the bundle's golden samples say.
    """
    check_choice(runtime, device)
    bundle = read_bundle(path)
    session: Session
    if device == "cuda" and not has_cuda_provider():
        from eyebright.jobs.torch_session import checked_torch_session

        session = checked_torch_session(bundle, device, progress or Silent())
        return Classifier(bundle, session=session)
    session = open_session(
        bundle, runtime=runtime, device=device, threads=available_cores(),
        spinning="never" if beside_decoding else "in a call",
    )  # fmt: skip
    if beside_decoding or session.runtime != "onnx" or device != "cpu":
        check_session(bundle, session)
    if runtime == "auto" and session.runtime != "onnx" and progress is not None:
        progress.note(f"{session.runtime} runs the network: it was the faster one in a trial")
    return Classifier(bundle, session=session)
