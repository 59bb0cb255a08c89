"""Reading one Parquet file whole, without what reading many files at once would load."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(path: str | os.PathLike[str]) -> pa.Table:
    """All rows and columns of one file.

    `pyarrow.parquet.read_table` gives the same rows, but loads pyarrow's data sets and with them pandas, which takes
    longer than reading a table of thousands of images; and it takes a folder named `key=value` for a column.

    Raises:
        FileNotFoundError: there is no such file.
        OSError, pa.ArrowException: it cannot be read, or is no Parquet file.
    """
    with pq.ParquetFile(os.fspath(path)) as file:
        return file.read()
