"""What users import, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import eyebright


def test_public_names_are_pinned() -> None:
    assert eyebright.__all__ == [
        "Classifier", "EyebrightClassifier", "EyebrightError", "Prediction", "Run", "audit", "compare", "evaluate",
        "find_learning_rate", "load",
        "open_run", "resume", "train", "verify",
    ]  # fmt: skip


@pytest.mark.parametrize("name", eyebright.__all__)
def test_every_public_name_is_callable_also_after_its_neighbours_were_imported(name: str) -> None:
    import eyebright.evaluation.metrics
    import eyebright.jobs.train
    import eyebright.training.loop

    assert callable(getattr(eyebright, name))
    assert name in dir(eyebright)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        eyebright.trian  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import eyebright",
        "from eyebright import load, Classifier, Run",
        "import eyebright.data.pack, eyebright.evaluation.metrics, eyebright.jobs.predict, eyebright.jobs.evaluate",
    ],
)
def test_no_torch_is_imported(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_imports_no_library() -> None:
    new = "{name.split('.')[0] for name in set(sys.modules) - before}"
    code = f"import sys; before = set(sys.modules); import eyebright; print({new})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "PIL", "pyarrow", "pydantic", "onnxruntime"} & set(eval(done.stdout))
