"""Properties of images: one row each, measured once, kept in the cache."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyebright.data.audit.hashing import HASH_BYTES
from eyebright.data.audit.properties import PROPERTIES_SCHEMA, PropertiesStore, measure_image, probe_images
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item
from eyebright.decode import UndecodableImage
from eyebright.identity import content_id

Encode = Callable[..., bytes]
Sources = Callable[..., Any]


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def photo(flowers_sample: Path) -> bytes:
    return min(flowers_sample.rglob("*.jpg")).read_bytes()


def test_a_photo_has_every_property(photo: bytes) -> None:
    row = measure_image(photo)
    assert (row["format"], row["mode"], row["width"], row["height"]) == ("JPEG", "RGB", 128, 128)
    assert row["jpeg_quality"] == 75
    assert row["jpeg_subsampling"] == "4:2:0"
    assert row["bytes"] == len(photo)
    assert row["id"] == content_id(photo)
    assert len(row["hash"]) == len(row["hash_mirrored"]) == HASH_BYTES
    assert set(row) == set(PROPERTIES_SCHEMA.names)


@pytest.mark.parametrize("pixels", [np.full((8, 8), 100, np.uint8), np.full((4, 6, 3), 100, np.uint8)])
def test_an_array_has_no_properties_of_a_file(pixels: np.ndarray) -> None:
    row = measure_image(pixels)
    assert (row["format"], row["frames"], row["width"]) == ("array", 1, pixels.shape[1])
    assert row["brightness"] == pytest.approx(100 / 255)
    assert not {"jpeg_quality", "camera", "taken", "orientation"} & set(row)


@pytest.mark.parametrize(
    ("mode", "format", "transparent"),
    [("P", "PNG", None), ("CMYK", "JPEG", None), ("1", "PNG", None), ("I;16", "PNG", None), ("LA", "PNG", 0.0)],
)
def test_the_stored_mode_is_kept_where_the_pixels_are_converted(
    photo: bytes, mode: str, format: str, transparent: float | None
) -> None:
    grey = Image.open(io.BytesIO(photo)).convert("L")
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    row = measure_image(_encoded(image, format))
    assert row["mode"] == mode
    assert row["transparent"] == transparent
    assert row["brightness"] == pytest.approx(np.asarray(grey).mean() / 255, abs=0.02)


def test_the_share_of_transparent_pixels_is_measured() -> None:
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 5, 10))
    assert measure_image(_encoded(image, "PNG"))["transparent"] == pytest.approx(0.5)
    assert measure_image(_encoded(image.convert("RGB"), "PNG"))["transparent"] is None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_image_has_its_upright_size_and_its_orientation(format: str) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    row = measure_image(_encoded(Image.new("RGB", (30, 20)), format, exif=exif))
    assert (row["width"], row["height"], row["orientation"]) == (20, 30, 6)


def test_a_large_photo_is_measured_as_well_at_reduced_size(photo: bytes) -> None:
    image = Image.open(io.BytesIO(photo)).resize((2048, 2048), Image.Resampling.BICUBIC)
    reduced, whole = measure_image(_encoded(image, "JPEG", quality=95)), measure_image(np.asarray(image))
    for name in ("mean_red", "brightness", "contrast", "saturation", "entropy"):
        assert reduced[name] == pytest.approx(whole[name], abs=0.02)


def test_each_image_is_measured_once_whatever_the_number_of_rows(encode: Encode, memory_source: Sources) -> None:
    items = [Item("a.png", "a"), Item("copy.png", "b"), Item("c.png", None), Item("d.png", "a")]
    contents = {"a.png": encode(1), "copy.png": encode(1), "c.png": encode(2), "d.png": encode(3)}
    source = memory_source(items=items, contents=contents)
    table, failures = probe_images(Manifest.scan(source), source)
    assert table["id"].to_pylist() == [content_id(encode(seed)) for seed in (1, 2, 3)]
    assert table.schema.equals(PROPERTIES_SCHEMA)
    assert failures == {}


def test_images_that_are_cut_off_are_found_and_can_be_marked(photo: bytes, memory_source: Sources) -> None:
    contents = {"whole.jpg": photo, "cut.jpg": photo[: len(photo) // 2]}
    source = memory_source(items=[Item("whole.jpg", "a"), Item("cut.jpg", "b")], contents=contents)
    manifest = Manifest.scan(source)
    table, failures = probe_images(manifest, source)
    assert table["id"].to_pylist() == [content_id(photo)]
    assert manifest.mark(failures).ledger()[0]["status"] == "truncated"


def test_files_that_change_or_go_after_the_listing_fail(encode: Encode, memory_source: Sources) -> None:
    source = memory_source(3)
    manifest = Manifest.scan(source)
    source.contents["0.png"] = encode(99)
    del source.contents["1.png"]
    table, failures = probe_images(manifest, source)
    assert table.num_rows == 1
    assert sorted(status for status, _ in failures.values()) == ["missing", "unreadable"]


def test_a_second_look_reads_nothing(memory_source: Sources, tmp_path: Path) -> None:
    source = memory_source(5)
    manifest = Manifest.scan(source)
    first, _ = probe_images(manifest, source, cache=tmp_path)
    source.reads.clear()
    second, _ = probe_images(manifest, source, cache=tmp_path)
    assert source.reads == []
    assert second.equals(first)


def test_only_new_images_are_measured(memory_source: Sources, tmp_path: Path) -> None:
    small, large = memory_source(5), memory_source(8)
    probe_images(Manifest.scan(small), small, cache=tmp_path)
    manifest = Manifest.scan(large)
    large.reads.clear()
    table, _ = probe_images(manifest, large, cache=tmp_path)
    assert sorted(large.reads) == ["5.png", "6.png", "7.png"]
    assert table["id"].to_pylist() == manifest.table["id"].to_pylist()


def test_a_damaged_part_of_the_cache_is_measured_again(memory_source: Sources, tmp_path: Path) -> None:
    source = memory_source(5)
    manifest = Manifest.scan(source)
    first, _ = probe_images(manifest, source, cache=tmp_path)
    (part,) = tmp_path.rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    second, _ = probe_images(manifest, source, cache=tmp_path)
    assert second.equals(first)
    source.reads.clear()
    probe_images(manifest, source, cache=tmp_path)
    assert source.reads == []


def test_many_small_additions_are_joined_and_none_is_lost(
    encode: Encode, memory_source: Sources, tmp_path: Path
) -> None:
    source = memory_source(40)
    table, _ = probe_images(Manifest.scan(source), source)
    store = PropertiesStore(tmp_path)
    for row in range(40):
        store.add(table.slice(row, 1))
    assert len(list(tmp_path.rglob("*.parquet"))) < 20
    assert store.read(table["id"].to_pylist()).sort_by("id").equals(table.sort_by("id"))


def test_audits_at_the_same_time_keep_all_rows(memory_source: Sources, tmp_path: Path) -> None:
    source = memory_source(60)
    table, _ = probe_images(Manifest.scan(source), source)
    store = PropertiesStore(tmp_path)

    def add(start: int) -> None:
        for row in range(start, 60, 3):
            store.add(table.slice(row, 1))

    threads = [threading.Thread(target=add, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(table["id"].to_pylist()).sort_by("id").equals(table.sort_by("id"))


def test_the_number_of_threads_changes_nothing(memory_source: Sources) -> None:
    source = memory_source(100)
    manifest = Manifest.scan(source)
    one, several = (probe_images(manifest, source, workers=workers)[0] for workers in (1, 4))
    assert one.equals(several)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_measured_or_refused(photo: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(photo) - 1))
    damaged = bytearray(photo[: data.draw(st.integers(1, len(photo)))])
    damaged[place % len(damaged)] ^= data.draw(st.integers(1, 255))
    try:
        row = measure_image(bytes(damaged))
    except UndecodableImage:
        return
    assert 0 <= row["brightness"] <= 1
