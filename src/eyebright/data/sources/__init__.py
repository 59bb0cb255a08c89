"""Sources of images, and how one is chosen from what the user gave."""

from __future__ import annotations

from eyebright.data.sources.base import SPLITS, Item, Source, Split, Stray
from eyebright.data.sources.opening import open_source

__all__ = ["SPLITS", "Item", "Source", "Split", "Stray", "open_source"]
