"""The hierarchy of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item
from eyebright.data.superclasses import superclasses_of
from eyebright.errors import DataError


@pytest.fixture
def manifest_of(memory_source: Callable[..., Any]) -> Callable[..., Manifest]:
    def make(*rows: tuple[str | None, str | None]) -> Manifest:
        items = [Item(source=f"{n}.png", label=label, superclass=above) for n, (label, above) in enumerate(rows)]
        return Manifest.scan(memory_source(items=items))

    return make


def test_every_class_has_its_superclass(manifest_of: Callable[..., Manifest]) -> None:
    manifest = manifest_of(("dog", "animal"), ("car", "vehicle"), ("dog", "animal"), (None, None))
    assert superclasses_of(manifest) == {"car": "vehicle", "dog": "animal"}


def test_without_superclasses_there_is_no_hierarchy(manifest_of: Callable[..., Manifest]) -> None:
    assert superclasses_of(manifest_of(("dog", None), ("car", None))) == {}


def test_contradictions_name_the_classes(manifest_of: Callable[..., Manifest]) -> None:
    rows = (("dog", "animal"), ("dog", "pet"), ("car", "vehicle"), ("car", None), ("bus", None))
    with pytest.raises(DataError) as caught:
        superclasses_of(manifest_of(*rows))
    assert "'dog' has more than one" in caught.value.problem
    assert "images of 'bus' have none, images of 'car' have none" in caught.value.problem
