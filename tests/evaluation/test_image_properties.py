"""Properties of scored images: the audit's numbers, kept with the run, matched by id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyebright.data.audit.evidence import gather_evidence
from eyebright.data.audit.properties import probe_images
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.errors import CorruptBundleError, ForeignBundleError
from eyebright.evaluation.image_properties import PROPERTIES, ImageProperties, properties_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, flowers_sample: Path) -> Path:
    """Ten photos as they are, five of them darkened, and five PNGs of half the size."""
    root = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(sorted((flowers_sample / "daisy").iterdir())[:10]):
        folder = root / ("daisy", "dark")[number % 2]
        folder.mkdir(exist_ok=True)
        image = Image.open(photo).convert("RGB")
        image.save(folder / f"{number}.jpg", quality=95)
        image.point(lambda level: level // 4).save(folder / f"dark{number}.jpg", quality=60)
        image.resize((image.width // 2, image.height // 2)).save(folder / f"small{number}.png")
    return root


@pytest.fixture(scope="module")
def measured(photos: Path) -> tuple[Manifest, ImageProperties]:
    manifest = Manifest.scan(open_source(photos))
    table, _ = probe_images(manifest, open_source(photos))
    return manifest, properties_of(gather_evidence(manifest, table))


def test_properties_are_what_the_files_say(measured: tuple[Manifest, ImageProperties]) -> None:
    manifest, properties = measured
    assert set(properties.values) == {one.name for one in PROPERTIES}
    assert sorted(properties.ids) == sorted(manifest.ok["id"].to_pylist())
    row_of = {image: row for row, image in enumerate(properties.ids)}
    for row in manifest.ok.to_pylist():
        found = {name: values[row_of[row["id"]]] for name, values in properties.values.items()}
        assert found["shortest_side"] == min(row["width"], row["height"])
        assert found["aspect"] == pytest.approx(row["width"] / row["height"])
        assert found["bytes_per_pixel"] == pytest.approx(row["bytes"] / row["width"] / row["height"])
        quality = 60 if "dark" in Path(row["source"]).name else 95
        assert np.isnan(found["jpeg_quality"]) if row["format"] == "PNG" else found["jpeg_quality"] == quality


def test_brightness_and_saturation_are_those_of_the_pixels(
    photos: Path, measured: tuple[Manifest, ImageProperties]
) -> None:
    manifest, properties = measured
    for row in manifest.ok.to_pylist()[:6]:
        pixels = np.asarray(Image.open(photos / row["source"]).convert("RGB"), dtype=np.float64) / 255
        place = properties.ids.index(row["id"])
        luma = pixels @ [0.299, 0.587, 0.114]
        chroma = (pixels.max(axis=2) - pixels.min(axis=2)).mean()
        assert properties.values["brightness"][place] == pytest.approx(luma.mean(), abs=0.01)
        assert properties.values["contrast"][place] == pytest.approx(luma.std(), abs=0.02)
        assert properties.values["saturation"][place] == pytest.approx(chroma, abs=0.02)


def test_columns_follow_the_order_of_the_ids_and_leave_out_what_is_constant(
    measured: tuple[Manifest, ImageProperties],
) -> None:
    _, properties = measured
    ids = [*reversed(properties.ids), "unknown"]
    columns = {column.name: column for column in properties.columns(ids)}
    brightness = columns["brightness"]
    assert brightness.codes[-1] == -1
    assert brightness.numbers is not None
    assert np.array_equal(brightness.numbers[:-1], properties.values["brightness"][::-1])
    assert columns["shortest_side"].parts[0].endswith(" pixels")
    assert columns["jpeg_quality"].parts == ("60", "95", "(none)")
    jpegs = [image for image in ids[:-1] if properties.values["jpeg_quality"][properties.ids.index(image)] == 95]
    assert "jpeg_quality" not in {column.name for column in properties.columns(jpegs)}


def test_the_file_gives_back_what_was_written(measured: tuple[Manifest, ImageProperties], tmp_path: Path) -> None:
    _, properties = measured
    properties.write(tmp_path / "p.parquet")
    again = ImageProperties.read(tmp_path / "p.parquet")
    assert again.ids == properties.ids
    for name, values in properties.values.items():
        assert np.array_equal(again.values[name], values, equal_nan=True)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignBundleError, match="does not exist"):
        ImageProperties.read(tmp_path / "p.parquet")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(ForeignBundleError, match="has the columns id"):
        ImageProperties.read(tmp_path / "p.parquet")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(CorruptBundleError, match="cannot be read"):
        ImageProperties.read(tmp_path / "p.parquet")
