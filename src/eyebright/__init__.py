"""Eyebright: from a folder of images to a classifier that you can trust and ship.

    import eyebright

    run = eyebright.train("photos/", budget="5m")
    classifier = eyebright.load(run.path)
    print(classifier.predict("cat.jpg"))

Names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyebright.classifier import Classifier, Prediction, load
    from eyebright.errors import EyebrightError
    from eyebright.estimator import EyebrightClassifier
    from eyebright.jobs.audit import audit
    from eyebright.jobs.compare import compare
    from eyebright.jobs.evaluate import evaluate_on as evaluate
    from eyebright.jobs.lr_find import find_learning_rate
    from eyebright.jobs.train import resume, train
    from eyebright.jobs.verify import verify
    from eyebright.run import Run, open_run

__version__ = "0.1.0"

_WHERE = {
    "Classifier": ("eyebright.classifier", "Classifier"),
    "EyebrightClassifier": ("eyebright.estimator", "EyebrightClassifier"),
    "EyebrightError": ("eyebright.errors", "EyebrightError"),
    "Prediction": ("eyebright.classifier", "Prediction"),
    "Run": ("eyebright.run", "Run"),
    "audit": ("eyebright.jobs.audit", "audit"),
    "compare": ("eyebright.jobs.compare", "compare"),
    "evaluate": ("eyebright.jobs.evaluate", "evaluate_on"),
    "find_learning_rate": ("eyebright.jobs.lr_find", "find_learning_rate"),
    "load": ("eyebright.classifier", "load"),
    "open_run": ("eyebright.run", "open_run"),
    "resume": ("eyebright.jobs.train", "resume"),
    "train": ("eyebright.jobs.train", "train"),
    "verify": ("eyebright.jobs.verify", "verify"),
}

__all__ = [
    "Classifier",
    "EyebrightClassifier",
    "EyebrightError",
    "Prediction",
    "Run",
    "audit",
    "compare",
    "evaluate",
    "find_learning_rate",
    "load",
    "open_run",
    "resume",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'eyebright' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
