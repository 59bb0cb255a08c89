"""Properties of images: one row for each, of what the file says and of what is measured on its pixels.

Each image is read and decoded once, in threads, and its row kept in the cache under the image's content id, so that
only new images cost anything the next time.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from PIL import Image, JpegImagePlugin

from eyebright import decode
from eyebright.atomic import explained, replacing_file
from eyebright.data.audit.evidence import READABLE
from eyebright.data.audit.exif import read_exif
from eyebright.data.audit.hashing import HASH_BYTES
from eyebright.data.audit.jpeg import describe_subsampling, describe_tables
from eyebright.data.audit.pixels import WORKING_SIDE, measure_pixels
from eyebright.data.manifest import Manifest
from eyebright.data.parquet import read_parquet
from eyebright.data.probing import available_cores
from eyebright.data.sources.base import Source
from eyebright.decode import DEFAULT_MAX_PIXELS, UndecodableImage, decode_image
from eyebright.identity import content_id
from eyebright.progress import Progress, Silent

PROPERTIES_VERSION = 1  # of the rows in the cache: raise it when a column changes its meaning
PROPERTIES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),  # pixels, upright
        ("height", pa.int32()),
        ("format", pa.string()),  # as in the manifest
        ("mode", pa.string()),  # Pillow's name of the stored mode: RGB, L, P, CMYK, RGBA, I;16, ...
        ("frames", pa.int32()),
        ("transparent", pa.float32()),  # share of pixels that are not opaque; null without an alpha channel
        ("orientation", pa.int32()),  # EXIF, 1 to 8; null when the file says none
        ("jpeg_quality", pa.float32()),  # 1 to 100, estimated from the quantisation tables; null for other formats
        ("jpeg_tables", pa.string()),  # short name of the quantisation tables
        ("jpeg_subsampling", pa.string()),  # 4:2:0, ...
        ("progressive", pa.bool_()),  # null for other formats than JPEG
        ("camera", pa.string()),  # EXIF make and model
        ("software", pa.string()),  # EXIF
        ("taken", pa.string()),  # EXIF, as 2024-05-31T12:00:00
        ("mean_red", pa.float32()),  # colours, light and saturation go from 0 to 1
        ("mean_green", pa.float32()),
        ("mean_blue", pa.float32()),
        ("border_red", pa.float32()),  # of a frame whose width is 1/16 of the image
        ("border_green", pa.float32()),
        ("border_blue", pa.float32()),
        ("edge_contrast", pa.float32()),  # standard deviation of luma along the outermost pixels: 0 for a drawn frame
        ("brightness", pa.float32()),  # mean luma (Rec. 601)
        ("contrast", pa.float32()),  # standard deviation of luma
        ("dark_end", pa.float32()),  # 5th percentile of luma
        ("bright_end", pa.float32()),  # 99th percentile of luma
        ("dark_share", pa.float32()),  # share of pixels with luma below 0.1
        ("saturation", pa.float32()),  # mean of the largest less the smallest channel
        ("sharpness", pa.float32()),  # variance of the Laplacian of luma in levels of 0 to 255, `pixels.WORKING_SIDE`
        ("entropy", pa.float32()),  # bits of the histogram of luma, 0 to 8
        ("hash", pa.binary(HASH_BYTES)),  # see `hashing`
        ("hash_mirrored", pa.binary(HASH_BYTES)),
    ]
)

_CHUNK = 32
_ROWS_A_FILE = 20_000  # of the cache: what a killed audit loses at most
_MOST_SMALL_FILES = 16  # of the cache; more are joined into one

Failures = dict[str, tuple[str, str]]


class _Probed(NamedTuple):
    rows: pa.RecordBatch
    failures: Failures
    images: int


def probe_images(
    manifest: Manifest,
    source: Source,
    *,
    progress: Progress | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    cache: Path | None = None,
    workers: int | None = None,
) -> tuple[pa.Table, Failures]:
    """Measure every readable image of the manifest, each id once.

    Args:
        manifest: its rows with a status of `evidence.READABLE` are read.
        source: what the manifest was scanned from.
        progress: told about the images that are not in the cache.
        max_pixels: larger images fail.
        cache: root of the cache; None keeps nothing.
        workers: threads; the cores that this process may use when None.

    Returns:
        Rows with the columns of `PROPERTIES_SCHEMA`, in the order of the manifest, and (status, reason) by id of the
        images that do not decode: hand them to `Manifest.mark`.

    Raises:
        StorageError: the cache cannot be written.
    """
    progress = progress or Silent()
    where = _readable(manifest)
    store = None if cache is None else PropertiesStore(cache, progress)
    known = PROPERTIES_SCHEMA.empty_table() if store is None else store.read(where)
    seen = set(known["id"].to_pylist())
    missing = [image for image in where if image not in seen]
    parts, unsaved, failures = [known], [], Failures()
    if missing:
        with progress.task("measuring images", len(missing)) as task, _quiet_pillow():
            for probed in _probe_all(missing, where, source, max_pixels, workers or available_cores()):
                failures |= probed.failures
                unsaved.append(probed.rows)
                task.advance(probed.images)
                if sum(batch.num_rows for batch in unsaved) >= _ROWS_A_FILE:
                    parts.append(_keep(store, unsaved))
                    unsaved = []
        parts.append(_keep(store, unsaved))
    return _in_order(pa.concat_tables(parts), list(where)), failures


def measure_image(content: bytes | npt.NDArray[np.uint8], max_pixels: int = DEFAULT_MAX_PIXELS) -> dict[str, Any]:
    """The columns of `PROPERTIES_SCHEMA`, `id` included, of one image.

    Args:
        content: the encoded file, or its pixels (H, W) or (H, W, C).
        max_pixels: refuse larger images.

    Raises:
        UndecodableImage: it does not decode whole.
    """
    if isinstance(content, np.ndarray):
        picture = decode_image(content, max_pixels=max_pixels)
        height, width = content.shape[:2]
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[1 if content.ndim == 2 else content.shape[2]]
        stored = {"format": "array", "mode": mode, "frames": 1, "width": width, "height": height}
        return {"id": content_id(content), "bytes": content.nbytes, **stored, **measure_pixels(picture)}
    format_name, image = decode._open(content)
    if image.width * image.height > max_pixels:
        decode.inspect_image(content, max_pixels)  # raises, with the words that the manifest has for it
    width, height = image.size
    stored = {"format": format_name, "mode": image.mode, "frames": _frames(image)}
    # A TIFF forgets its orientation when it is decoded; a PNG may know it only then.
    exif = read_exif(image) if format_name != "PNG" else {}
    if format_name == "JPEG":
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
    picture = decode_image(image, max_pixels=max_pixels)
    if format_name == "PNG":
        exif = read_exif(image)
    # A TIFF gives its upright size already.
    if format_name != "TIFF" and (exif["orientation"] or 1) >= 5:
        width, height = height, width
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        stored |= _describe_jpeg(image)
    stored |= {"width": width, "height": height, "transparent": _transparent_share(image)}
    return {"id": content_id(content), "bytes": len(content), **stored, **exif, **measure_pixels(picture)}


class PropertiesStore:
    """Rows by content id in `<cache>/properties/v<version>/`: a few Parquet files that are written once and never
    changed, so that several processes may add and read at the same time.
    """

    def __init__(self, cache: Path, progress: Progress | None = None) -> None:
        self._folder = Path(cache) / "properties" / f"v{PROPERTIES_VERSION}"
        self._progress = progress or Silent()

    def read(self, ids: Iterable[str]) -> pa.Table:
        """The rows of those ids that are known, each once."""
        wanted = pa.array(list(ids), pa.string())
        found = [PROPERTIES_SCHEMA.empty_table()]
        for path in self._files():
            rows = self._read_file(path)
            if rows is not None:
                found.append(rows.filter(pa.compute.is_in(rows["id"], value_set=wanted)))
        return _first_of_each(pa.concat_tables(found))

    def add(self, rows: pa.Table) -> None:
        """Keep these rows. Many small files are joined into one now and then."""
        small = [path for path in self._files() if _rows_of(path) < _ROWS_A_FILE]
        # Only what was read is removed: another process may have joined some of them, and written others, meanwhile.
        parts = {path: self._read_file(path) for path in small} if len(small) >= _MOST_SMALL_FILES else {}
        joined = {path: part for path, part in parts.items() if part is not None}
        rows = _first_of_each(pa.concat_tables([rows, *joined.values()]))
        # Named after its content: two processes that measure the same images write the same file.
        digest = hashlib.blake2b("\n".join(sorted(rows["id"].to_pylist())).encode(), digest_size=12).hexdigest()
        target = self._folder / f"{digest}.parquet"
        with replacing_file(target) as temporary:
            pq.write_table(rows, temporary, compression="zstd")
        for path in joined:
            if path != target:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

    def _read_file(self, path: Path) -> pa.Table | None:
        """None when another process has joined it into a larger one meanwhile, or it is damaged."""
        try:
            table = read_parquet(path)
            if table.schema.equals(PROPERTIES_SCHEMA):
                return table
            problem = "it has other columns"
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            problem = str(error)
        self._progress.warn(f"the measured properties in {path} cannot be used ({problem}): they are measured again")
        with explained(path):
            path.unlink(missing_ok=True)
        return None


def _rows_of(path: Path) -> int:
    """How many rows a file of the cache has; 0 when it is gone or damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _readable(manifest: Manifest) -> dict[str, str]:
    """Source by id, each id once, in the order of the manifest."""
    rows = manifest.table.filter(pa.compute.is_in(manifest.table["status"], value_set=pa.array(READABLE)))
    where: dict[str, str] = {}
    for image, source in zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True):
        where.setdefault(image, source)
    return where


def _probe_all(
    images: Sequence[str], where: dict[str, str], source: Source, max_pixels: int, workers: int
) -> Iterator[_Probed]:
    """Probe in threads, chunk by chunk and in order: Pillow and NumPy free the interpreter for most of the time."""
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="probe")
    try:
        yield from pool.map(lambda chunk: _probe_chunk(chunk, where, source, max_pixels), chunks)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _probe_chunk(images: Sequence[str], where: dict[str, str], source: Source, max_pixels: int) -> _Probed:
    rows: list[dict[str, Any]] = []
    failures: Failures = {}
    for image in images:
        try:
            row = measure_image(source.read(where[image]), max_pixels)
            if row["id"] != image:
                raise UndecodableImage("unreadable", "the file changed after it was listed")
            rows.append(row)
        except UndecodableImage as error:
            failures[image] = (error.status, error.problem)
    return _Probed(pa.RecordBatch.from_pylist(rows, schema=PROPERTIES_SCHEMA), failures, len(images))


def _keep(store: PropertiesStore | None, batches: Sequence[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches, schema=PROPERTIES_SCHEMA)
    if store is not None and table.num_rows:
        store.add(table)
    return table


def _first_of_each(table: pa.Table) -> pa.Table:
    """Each id once: several processes may have kept the same one."""
    first: dict[str, int] = {}
    for row, image in enumerate(table["id"].to_pylist()):
        first.setdefault(image, row)
    return table if len(first) == table.num_rows else table.take(pa.array(first.values(), pa.int64()))


def _in_order(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    row_of = {image: row for row, image in enumerate(table["id"].to_pylist())}
    rows = [row_of[image] for image in ids if image in row_of]
    return table.take(pa.array(rows, pa.int64())).combine_chunks()


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a broken later frame does not concern us: the first one is used
        return 1


def _describe_jpeg(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    quality, tables = describe_tables(image.quantization) or (None, None)
    return {
        "jpeg_quality": quality,
        "jpeg_tables": tables,
        "jpeg_subsampling": describe_subsampling(image),
        "progressive": bool(image.info.get("progressive", False)),
    }


def _transparent_share(image: Image.Image) -> float | None:
    """Share of the pixels of a decoded image that are not opaque; None when it has no transparency."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A").histogram()
    return 1 - alpha[255] / sum(alpha)


class _quiet_pillow(warnings.catch_warnings):  # noqa: N801  (a context manager, used like a function)
    """Pillow's warnings about odd metadata go nowhere: what cannot be read of it is null in the table."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="PIL")
