"""Text columns as whole numbers, so that NumPy groups a million rows without a million Python strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def as_codes(column: Any) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Equal values get equal codes, in the order of their first appearance.

    Args:
        column: Arrow array or chunked array of N values.

    Returns:
        Codes, int64 (N,), -1 for null; and the values by code.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    encoded = column.dictionary_encode()
    if not encoded.num_chunks:
        return np.zeros(0, dtype=np.int64), pa.array([], column.type)
    # One dictionary for all chunks: unifying them would cost a pass over it for each.
    values = encoded.chunk(0).dictionary
    assert all(len(chunk.dictionary) == len(values) for chunk in encoded.chunks)
    return np.concatenate([np.asarray(chunk.indices.fill_null(-1)) for chunk in encoded.chunks]).astype(
        np.int64
    ), values


def as_mask(column: Any) -> npt.NDArray[np.bool_]:
    """A Boolean column as bool (N,); null is false."""
    return np.asarray(column.fill_null(False)).astype(np.bool_)
