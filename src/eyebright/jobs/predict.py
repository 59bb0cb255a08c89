"""Predictions for whatever the user points at: files, folders, tables, named sets. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eyebright.classifier import Classifier, Prediction
from eyebright.data.probing import available_cores
from eyebright.jobs.inputs import Content, Opened, open_input
from eyebright.jobs.prediction_flow import Listing, batches
from eyebright.progress import Progress, Silent

__all__ = ["Answer", "Content", "Opened", "open_input", "predict"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the classifier says of one image, or why it says nothing.

    Attributes:
        source: the image as the user would find it.
        id: content id; None when the file could not be read.
        prediction: what the classifier says; None for an image that could not be used.
        status: `ok`, or why not.
        reason: the same as a sentence.
    """

    source: str
    id: str | None = None
    prediction: Prediction | None = None
    status: str = "ok"
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of the prediction beside source, id, status and reason."""
        names = [field.name for field in dataclasses.fields(Prediction)]
        said = dict.fromkeys(names) if self.prediction is None else dataclasses.asdict(self.prediction)
        return {"source": self.source, "id": self.id, "status": self.status, "reason": self.reason} | {
            name: said[name] for name in names if name not in ("source", "id")
        }


def predict(
    classifier: Classifier, inputs: Sequence[str | Path], *, progress: Progress | None = None
) -> Iterator[Answer]:
    """Answers for images, folders, tables and named sets, in order.

    An image that cannot be read gets an answer that says so; it stops nothing. For many images,
    `predict_to_file.predict_to_file` is faster, and goes on after a kill.

    Raises:
        DataError: an input that is no image file does not exist or holds nothing that could be an image.
    """
    progress = progress or Silent()
    # All are opened first: a typing error should cost no waiting.
    listing = Listing([open_input(given) for given in inputs])
    with progress.task(f"classifying {listing.title}", len(listing)) as task:
        for batch in batches(classifier, listing, threads=available_cores()):
            said = iter(() if batch.decided is None else classifier.predictions(batch.decided))
            for image in batch.images:
                if image.problem is not None:
                    problem = image.problem
                    yield Answer(source=image.source, id=image.id, status=problem.status, reason=problem.problem)
                else:
                    prediction = dataclasses.replace(next(said), source=image.source, id=image.id)
                    yield Answer(source=image.source, id=image.id, prediction=prediction)
                task.advance()
