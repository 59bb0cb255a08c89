"""Shallow classifiers: fixed features of colour, shape and texture, and heads that hold a fitted classifier."""

from eyebright.models.shallow.network import Shallow

__all__ = ["Shallow"]
