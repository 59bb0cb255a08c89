"""Reading one Parquet file: as pyarrow reads it, without the folder's name becoming a column."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.parquet import read_parquet


def test_a_file_is_read_as_pyarrow_reads_it_metadata_included(tmp_path: Path) -> None:
    table = pa.table(
        {"id": ["a", "b", None], "size": pa.array([1, None, 3], pa.int32()), "kind": pa.array(["x", "y", "x"])}
    ).replace_schema_metadata({"eyebright": "1"})
    pq.write_table(table, tmp_path / "table.parquet", compression="zstd")
    assert read_parquet(tmp_path / "table.parquet").equals(table, check_metadata=True)
    assert read_parquet(str(tmp_path / "table.parquet")).equals(
        pq.read_table(tmp_path / "table.parquet"), check_metadata=True
    )


def test_the_name_of_a_folder_is_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "camera=north"
    folder.mkdir()
    pq.write_table(pa.table({"id": ["a"]}), folder / "table.parquet")
    assert read_parquet(folder / "table.parquet").column_names == ["id"]


def test_what_is_missing_or_damaged_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(pa.ArrowInvalid):
        read_parquet(tmp_path / "half.parquet")
