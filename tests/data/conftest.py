"""Small data sets made of real encoded images, written where a test wants them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyebright.data.sources import Item, Stray
from eyebright.decode import UndecodableImage

Encode = Callable[..., bytes]


def encode_image(seed: int, side: int = 16, format: str = "PNG") -> bytes:
    """A picture of noise that only this seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


@pytest.fixture
def encode() -> Encode:
    return encode_image


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `{path: seed or bytes}` below a new folder."""

    def make(files: dict[str, int | bytes], name: str = "images") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content if isinstance(content, bytes) else encode_image(content))
        return root

    return make


class MemorySource:
    """A source that lives in memory and counts what is read from it."""

    kind = "memory"
    spec = "memory"

    def __init__(self, items: list[Item], contents: dict[str, bytes], classes: tuple[str, ...] | None = None) -> None:
        self.class_names = classes
        self.contents = contents
        self.reads: list[str] = []
        self._items = items

    def items(self) -> Iterator[Item]:
        return iter(self._items)

    def strays(self) -> list[Stray]:
        return []

    def read(self, source: str) -> bytes:
        self.reads.append(source)
        if source not in self.contents:
            raise UndecodableImage("missing", f"there is no {source}")
        return self.contents[source]


@pytest.fixture
def memory_source() -> Callable[..., MemorySource]:
    """A source of `count` different images in two classes, or of the given items and contents."""

    def make(
        count: int = 0, *, items: list[Item] | None = None, contents: dict[str, bytes] | None = None
    ) -> MemorySource:
        if items is None:
            items = [Item(source=f"{n}.png", label="ab"[n % 2]) for n in range(count)]
        if contents is None:
            contents = {item.source: encode_image(n) for n, item in enumerate(items)}
        return MemorySource(items, contents)

    return make
