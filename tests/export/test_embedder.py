"""Embeddings: the same as torch's, kept by content, and whole after damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.export.embedder import Embedder
from eyebright.models.catalog import create_network
from eyebright.progress import Silent


class _Counting:
    """Counts what is read of a source."""

    def __init__(self, source: Source) -> None:
        self.source, self.reads = source, 0

    def read(self, place: str) -> object:
        self.reads += 1
        return self.source.read(place)


@pytest.fixture(scope="module")
def embedded(
    flowers_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Embedder, list[str], list[str], np.ndarray]:
    source = open_source(flowers_sample)
    manifest = Manifest.scan(source).ok
    ids, places = manifest["id"].to_pylist()[:20], manifest["source"].to_pylist()[:20]
    embedder = Embedder(cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), size=96)
    vectors, failures = embedder.embed(ids, places, source, progress=Silent())
    assert failures == {}
    return embedder, ids, places, vectors


def test_vectors_are_the_pretrained_network_s_features(embedded: tuple, flowers_sample: Path) -> None:
    embedder, _, places, vectors = embedded
    network = create_network(embedder.network, classes=2, pretrained=True).eval()
    pixels = np.stack([embedder.preprocess.pixels(flowers_sample / place) for place in places])
    images = torch.from_numpy(embedder.preprocess.normalise(pixels))
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(images), pre_logits=True).numpy()  # type: ignore[operator]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=2e-3)  # float16 in the cache


def test_a_second_time_nothing_is_read(embedded: tuple, flowers_sample: Path) -> None:
    embedder, ids, places, vectors = embedded
    counting = _Counting(open_source(flowers_sample))
    again, _ = embedder.embed(ids[::-1], places[::-1], counting, progress=Silent())
    assert counting.reads == 0
    np.testing.assert_array_equal(again, vectors[::-1])


def test_a_damaged_part_is_computed_again(embedded: tuple, flowers_sample: Path) -> None:
    embedder, ids, places, vectors = embedded
    for part in embedder.folder.glob("*.npz"):
        part.write_bytes(part.read_bytes()[:100])
    counting = _Counting(open_source(flowers_sample))
    again, _ = embedder.embed(ids, places, counting, progress=Silent())
    assert counting.reads == len(ids)
    np.testing.assert_allclose(again, vectors, atol=1e-3)


def test_an_image_that_does_not_decode_is_named_and_left_zero(embedded: tuple, tmp_path: Path) -> None:
    embedder, _, _, _ = embedded
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    vectors, failures = embedder.embed(["0" * 32], ["a/cut.jpg"], open_source(tmp_path), progress=Silent())
    assert set(failures) == {"0" * 32}
    assert not vectors.any()
