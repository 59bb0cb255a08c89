"""Writes images as shards: WebDataset tar files and Parquet in the layout of Hugging Face."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Labelled = Sequence[tuple[bytes, int]]
"""Encoded images with their class numbers."""


def noisy_image(seed: int, side: int = 16) -> bytes:
    """A PNG of noise that only this seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_tars(folder: Path, images: Labelled, *, per_shard: int, suffix: str = "png") -> Path:
    """`set-000000.tar` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(images), per_shard):
        with tarfile.open(folder / f"set-{first // per_shard:06d}.tar", "w") as archive:
            for number, (content, label) in enumerate(images[first : first + per_shard], start=first):
                for name, data in ((f"{number:08d}.{suffix}", content), (f"{number:08d}.cls", str(label).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder


def write_parquet(folder: Path, images: Labelled, *, per_shard: int, row_group: int) -> Path:
    """`set-0.parquet` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"class {number}" for number in range(1 + max(label for _, label in images))]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for first in range(0, len(images), per_shard):
        part = images[first : first + per_shard]
        cells = pa.array(
            [{"bytes": content, "path": None} for content, _ in part],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
        table = pa.table({"image": cells, "label": pa.array([label for _, label in part])})
        path = folder / f"set-{first // per_shard}.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=row_group)
    return folder
