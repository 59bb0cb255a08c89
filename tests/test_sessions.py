"""Whatever runs the graph says what the bundle said where it was made, or is refused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyebright.bundle import Bundle, read_bundle
from eyebright.classifier import Classifier, load
from eyebright.errors import MissingDependencyError, UsageError, VerificationError
from eyebright.jobs.open_classifier import open_classifier
from eyebright.lookahead import looked_ahead
from eyebright.sessions import (
    OnnxSession,
    agreement,
    check_session,
    has_cuda_provider,
    is_openvino_installed,
    open_session,
)


@pytest.fixture(scope="module")
def bundle(trained_run: Path) -> Bundle:
    return read_bundle(trained_run)


class Shifted:
    """A session whose probabilities are a little off."""

    runtime = "shifted"

    def __init__(self, bundle: Bundle, by: float) -> None:
        self._inner = open_session(bundle, threads=1)
        self.outputs = self._inner.outputs
        self._by = by

    def run(self, outputs: Sequence[str], pixels: Any) -> list[Any]:
        return [found + np.float32(self._by) for found in self._inner.run(outputs, pixels)]


def test_onnx_runtime_agrees_with_the_golden_samples(bundle: Bundle) -> None:
    session = open_session(bundle, threads=1)
    assert isinstance(session, OnnxSession)
    found = agreement(bundle, session)
    assert found.samples == len(bundle.golden().ids)
    assert found.largest_difference < 1e-5
    assert found.flips == 0
    check_session(bundle, session)


@pytest.mark.parametrize("by", [2e-4, float("nan")])
def test_a_session_that_says_something_else_is_refused(by: float, bundle: Bundle) -> None:
    with pytest.raises(VerificationError, match="shifted does not give what"):
        check_session(bundle, Shifted(bundle, by))


def test_a_session_that_differs_within_the_tolerance_is_used(bundle: Bundle) -> None:
    check_session(bundle, Shifted(bundle, 5e-5))
    assert Classifier(bundle, session=Shifted(bundle, 0.0)).runtime == "shifted"


@pytest.mark.skipif(has_cuda_provider(), reason="this ONNX Runtime has CUDA")
def test_what_is_not_installed_is_told_with_the_remedy(trained_run: Path, bundle: Bundle) -> None:
    with pytest.raises(MissingDependencyError, match="without its CUDA provider"):
        open_session(bundle, device="cuda")
    with pytest.raises(UsageError, match="onnx, openvino"):
        load(trained_run, runtime="tensorrt")
    with pytest.raises(UsageError, match="openvino was asked for on cuda"):
        open_classifier(trained_run, runtime="openvino", device="cuda")


@pytest.mark.skipif(is_openvino_installed(), reason="openvino is installed")
def test_openvino_is_told_to_be_missing(trained_run: Path) -> None:
    with pytest.raises(MissingDependencyError, match="openvino is not installed") as refusal:
        load(trained_run, runtime="openvino")
    assert "eyebright[openvino]" in str(refusal.value)
    assert load(trained_run, runtime="auto").runtime == "onnx"


@pytest.mark.skipif(not is_openvino_installed(), reason="openvino is not installed")
def test_openvino_agrees_with_the_golden_samples(trained_run: Path, bundle: Bundle) -> None:
    assert load(trained_run, runtime="openvino").runtime == "openvino"
    assert agreement(bundle, open_session(bundle, runtime="openvino")).largest_difference < 1e-4
    assert load(trained_run, runtime="auto").runtime in ("onnx", "openvino")


@pytest.mark.filterwarnings("ignore")
def test_torch_in_both_precisions_stays_near_the_golden_samples(bundle: Bundle) -> None:
    from eyebright.jobs.torch_session import BFLOAT16_TOLERANCE, TorchSession

    exact = TorchSession(bundle, "cpu", bfloat16=False, compiled=False)
    check_session(bundle, exact)
    rough = agreement(bundle, TorchSession(bundle, "cpu", bfloat16=True, compiled=False))
    assert 0 < rough.largest_difference < BFLOAT16_TOLERANCE
    pixels = bundle.golden().pixels
    names = ["probabilities", "logits", *(["features"] if "features" in exact.outputs else [])]
    for one, other in zip(exact.run(names, pixels), open_session(bundle).run(names, pixels), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_looking_ahead_keeps_the_order_and_its_bound() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002 * (number % 3))
        return number

    results = looked_ahead(work, iter(range(40)), threads=4, ahead=6)
    for number in range(40):
        assert next(results) == number
        assert len(begun) <= number + 1 + 6
    assert list(results) == []


def test_what_the_work_raises_comes_in_its_place() -> None:
    results = looked_ahead(lambda number: 6 // (3 - number), range(10), threads=3, ahead=8)
    assert [next(results), next(results), next(results)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
