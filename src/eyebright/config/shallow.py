"""Shallow classifiers: fixed features and a classifier of scikit-learn, for `--recipe shallow`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from eyebright.config.part import Part


class ShallowConfig(Part):
    """What the recipe `shallow` fits; other recipes do not look at it."""

    classifier: Literal["auto", "logistic", "svm", "rbf-svm", "boosting"] = "auto"
    """`auto` fits all four as far as the budget goes and keeps the best on validation."""
    features: tuple[Literal["colour", "hog", "lbp"], ...] = Field(("colour", "hog", "lbp"), min_length=1)
    """Families of features: histograms of colour, of oriented gradients, of local binary patterns."""
    images: int = Field(20_000, ge=10)
    """Most training images; of more, so many are drawn, class by class."""
