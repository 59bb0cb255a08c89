from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyebright.data import fingerprint, listing
from eyebright.data.manifest import MANIFEST_SCHEMA, STATUSES, Manifest
from eyebright.data.sources import Item, open_source
from eyebright.errors import BadImagesError, DataError
from eyebright.identity import content_id

MakeFolder = Callable[..., Path]


def statuses(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.table["source"].to_pylist(), manifest.table["status"].to_pylist(), strict=True))


def test_every_file_has_one_row_with_the_facts_of_its_header(
    make_folder: MakeFolder, encode: Callable[..., bytes]
) -> None:
    root = make_folder(
        {
            "cat/1.jpg": encode(1, side=20, format="JPEG"),
            "cat/2.png": 2,
            "dog/3.png": 3,
            "dog/empty.png": b"",
            "dog/text.jpg": b"not really a photo",
            "dog/cut.png": encode(4)[:20],
            "dog/notes.txt": b"x",
        }
    )
    manifest = Manifest.scan(open_source(root))
    assert manifest.table.schema.equals(MANIFEST_SCHEMA)
    assert statuses(manifest) == {
        "cat/1.jpg": "ok",
        "cat/2.png": "ok",
        "dog/3.png": "ok",
        "dog/empty.png": "empty",
        "dog/text.jpg": "not-an-image",
        "dog/cut.png": "truncated",
        "dog/notes.txt": "stray",
    }
    assert set(statuses(manifest).values()) <= set(STATUSES)
    assert manifest.classes == ("cat", "dog")
    row = manifest.table.to_pylist()[0]
    content = (root / "cat/1.jpg").read_bytes()
    assert row["id"] == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert (row["width"], row["height"], row["format"], row["bytes"]) == (20, 20, "JPEG", len(content))
    assert all((row["status"] == "ok") == (row["reason"] == "") for row in manifest.table.to_pylist())
    assert len(manifest.ledger()) == 4
    assert manifest.counts() == {"all": {"cat": 2, "dog": 1}}


def test_arrays_of_other_shape_have_other_ids() -> None:
    flat = np.zeros((2, 8), np.uint8)
    assert content_id(flat) != content_id(flat.reshape(4, 4))
    assert content_id(flat) == content_id(flat.copy())
    assert len(content_id(flat)) == 32


def test_copies_are_duplicates_and_contradictions_are_set_aside(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "cat/copy.png": 1, "cat/2.png": 2, "dog/2.png": 2, "dog/3.png": 3})
    manifest = Manifest.scan(open_source(root))
    assert statuses(manifest) == {
        "cat/1.png": "ok",
        "cat/copy.png": "duplicate",
        "cat/2.png": "conflicting-labels",
        "dog/2.png": "conflicting-labels",
        "dog/3.png": "ok",
    }
    reasons = {row["source"]: row["reason"] for row in manifest.ledger()}
    assert reasons["cat/copy.png"] == "the same bytes as cat/1.png"
    assert "dog/2.png, which is labelled 'dog'" in reasons["cat/2.png"]


def test_copies_in_two_given_splits_stay_and_are_counted_as_leaks(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a/1.png": 1, "train/a/1b.png": 1, "test/a/1.png": 1, "train/b/2.png": 2})
    manifest = Manifest.scan(open_source(root))
    assert sorted(statuses(manifest).values()) == ["duplicate", "ok", "ok", "ok"]
    assert manifest.leaks() == 1
    assert manifest.counts() == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 0}}


def test_a_copy_without_a_split_follows_the_one_that_has_one(
    memory_source: Callable[..., object], encode: Callable[..., bytes]
) -> None:
    items = [Item("1", "a"), Item("2", "a", split="test"), Item("3", "a", split="train"), Item("4", "b")]
    source = memory_source(items=items, contents={name: encode(int(name == "4")) for name in "1234"})
    manifest = Manifest.scan(source)  # type: ignore[arg-type]
    assert statuses(manifest) == {"1": "duplicate", "2": "ok", "3": "ok", "4": "ok"}


def test_too_large_images_are_listed(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    manifest = Manifest.scan(open_source(root), max_pixels=16 * 16 - 1)
    assert set(statuses(manifest).values()) == {"too-large"}


def test_the_manifest_survives_its_file(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "dog/x.txt": b"x"})
    manifest = Manifest.scan(open_source(root))
    manifest.write(tmp_path / "manifest.parquet")
    copy = Manifest.read(tmp_path / "manifest.parquet")
    assert copy.table.equals(manifest.table)
    assert (copy.classes, copy.spec, copy.kind) == (manifest.classes, str(root), "folder")
    assert copy.fingerprint() == manifest.fingerprint()


def test_files_that_are_no_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no manifest"):
        Manifest.read(tmp_path / "none.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        Manifest.read(tmp_path / "torn.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="is no manifest"):
        Manifest.read(tmp_path / "other.parquet")


def test_the_fingerprint_follows_content_label_and_split_only(make_folder: MakeFolder) -> None:
    one = Manifest.scan(open_source(make_folder({"cat/1.png": 1, "dog/2.png": 2}, name="one")))
    renamed = Manifest.scan(open_source(make_folder({"cat/z.png": 1, "dog/a.png": 2, "dog/n.txt": b""}, name="two")))
    relabelled = Manifest.scan(open_source(make_folder({"cat/1.png": 2, "dog/2.png": 1}, name="three")))
    assert one.fingerprint() == renamed.fingerprint() != relabelled.fingerprint()
    assert one.replace(split=["train", "test"]).fingerprint() != one.fingerprint()


Line = tuple[str, str | None, str | None]  # id, label, split

texts = st.text(max_size=6) | st.sampled_from(['"', "\\", "\n", "\x7f", "è", "🌹", "null", "rose"])
lines = st.lists(
    st.tuples(texts, st.none() | texts, st.none() | st.sampled_from(["train", "val", "test"])), max_size=30
)


def manifest_of(rows: list[Line], cuts: list[int] | None = None) -> Manifest:
    """Used rows; the columns are cut into chunks before the rows at `cuts`."""
    table = pa.Table.from_pylist(
        [{"id": i, "label": label, "split": split, "status": "ok"} for i, label, split in rows], schema=MANIFEST_SCHEMA
    )
    bounds = [0, *sorted(cuts or []), len(rows)]
    chunked = pa.concat_tables([table.slice(a, b - a) for a, b in itertools.pairwise(bounds)])
    return Manifest(chunked, classes=(), spec="test", kind="folder")


def naive_fingerprint(rows: list[Line]) -> str:
    written = sorted(json.dumps(list(row), ensure_ascii=False) for row in rows)
    return hashlib.blake2b("\n".join(written).encode(), digest_size=16).hexdigest()


@given(rows=lines, order=st.randoms(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_the_fingerprint_is_that_of_the_sorted_lines(rows: list[Line], order: Any, data: st.DataObject) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    part = data.draw(st.integers(1, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "_PART_ROWS", part)
        assert manifest_of(shuffled, cuts).fingerprint() == naive_fingerprint(rows)


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    # Recorded once: runs of different versions and machines are compared by it.
    rows: list[Line] = [
        ("00f1", "rose", "train"),
        ("00f0", "tulip", "test"),
        ("00f0", "tulip", "train"),
        ("ff00", "gänseblümchen", "val"),
        ("a0b0", 'the "other" one', "train"),
    ]
    assert manifest_of(rows).fingerprint() == "8422ec740b81a7ed1f914df91b287ce6"
    assert manifest_of(rows[::-1], [2]).fingerprint() == "8422ec740b81a7ed1f914df91b287ce6"
    assert manifest_of([]).fingerprint() == "cae66941d9efbd404e4d88758ea67670"  # BLAKE2b-128 of nothing


@given(order=st.randoms(), chunk=st.integers(1, 7), batch=st.integers(1, 9))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_file_order_nor_chunks_change_the_used_images(
    encode: Callable[..., bytes], memory_source: Callable[..., Any], order: Any, chunk: int, batch: int
) -> None:
    # Images 0 and 1 have copies, 2 has one with another label, 3 is broken.
    contents = {f"{n}.png": encode(n) for n in range(8)} | {f"{n}b.png": encode(n) for n in range(3)}
    contents["3.png"] = b"broken"
    labels = {name: "ab"[int(name[0]) % 2] for name in contents} | {"2b.png": "b"}
    names = sorted(contents)
    straight = Manifest.scan(memory_source(items=[Item(name, labels[name]) for name in names], contents=contents))
    order.shuffle(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyebright.data.probing._THREAD_CHUNK_IMAGES", chunk)
        patch.setattr(listing, "_BATCH_ROWS", batch)
        mixed = Manifest.scan(memory_source(items=[Item(name, labels[name]) for name in names], contents=contents))
    assert mixed.fingerprint() == straight.fingerprint()
    assert sorted(mixed.ok["id"].to_pylist()) == sorted(straight.ok["id"].to_pylist())
    assert mixed.counts() == straight.counts() == {"all": {"a": 3, "b": 3}}
    assert mixed.table["source"].to_pylist() == names


user_values = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=3)


@given(
    values=st.lists(user_values, max_size=20) | st.lists(st.none() | st.integers(0, 9), max_size=20),
    batch=st.integers(1, 6),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_type_of_a_users_column_does_not_depend_on_batches(
    memory_source: Callable[..., Any], values: list[Any], batch: int
) -> None:
    # The first row has no such column at all.
    items = [Item("first", "a"), *(Item(str(n), "a", extra={"id": value}) for n, value in enumerate(values))]
    source = memory_source(items=items, contents={})
    whole = Manifest.scan(source).table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyebright.data.probing._THREAD_CHUNK_IMAGES", 2)
        patch.setattr(listing, "_BATCH_ROWS", batch)
        assert Manifest.scan(source).table.equals(whole)
    if values:
        given_back = whole["user_id"].to_pylist()
        try:
            expected = pa.array([None, *values]).to_pylist()
        except (pa.ArrowException, OverflowError):
            expected = [None if value is None else str(value) for value in [None, *values]]
        assert given_back == expected


def test_marked_images_leave_the_used_ones(make_folder: MakeFolder) -> None:
    manifest = Manifest.scan(open_source(make_folder({"cat/1.png": 1, "dog/2.png": 2})))
    image = manifest.ok["id"][0].as_py()
    marked = manifest.mark({image: ("truncated", "cut off")})
    assert marked.ok.num_rows == 1
    assert marked.ledger() == [{"source": "cat/1.png", "status": "truncated", "reason": "cut off"}]
    assert manifest.ok.num_rows == 2


def test_bad_images_beyond_the_allowance_stop_the_work(make_folder: MakeFolder) -> None:
    files: dict[str, int | bytes] = {f"{label}/{n}.png": ord(label) * 100 + n for label in "ab" for n in range(10)}
    manifest = Manifest.scan(open_source(make_folder({**files, "a/broken.png": b"", "b/note.txt": b"x"})))
    with pytest.raises(BadImagesError, match=r"1 of 21 images \(4.8%\)") as caught:
        manifest.check(0.01)
    assert "a/broken.png: empty" in caught.value.problem
    assert "--allow-bad 5%" in (caught.value.remedy or "")
    manifest.check(0.05)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"cat/1.png": 1, "cat/2.png": 2, "cat/3.png": 3}, r"1 class \('cat'\)"),
        ({"cat/1.png": 1, "dog/2.png": 2}, "'cat' has 1, 'dog' has 1"),
        ({"1.png": 1, "2.png": 2}, "none of the 2 images .* has a label"),
        ({**{f"cat/{n}.png": n for n in range(3)}, "dog/1.png": 8, "dog/2.png": 8, "dog/3.png": 8}, "'dog' has 1"),
    ],
)
def test_images_that_cannot_train_a_classifier_are_refused(
    make_folder: MakeFolder, files: dict[str, int], words: str
) -> None:
    manifest = Manifest.scan(open_source(make_folder(files)))
    with pytest.raises(DataError, match=words):
        manifest.check(0.01)
    manifest.check(0.01, for_training=False)


def test_no_images_at_all(memory_source: Callable[..., object]) -> None:
    with pytest.raises(DataError, match="no images"):
        Manifest.scan(memory_source()).check()  # type: ignore[arg-type]


def test_declared_order_comes_before_sorting(memory_source: Callable[..., object]) -> None:
    items = [Item("1", "b"), Item("2", "a"), Item("3", "c")]
    source = memory_source(items=items)
    source.class_names = ("c", "unused", "b")  # type: ignore[attr-defined]
    assert Manifest.scan(source).classes == ("c", "b", "a")  # type: ignore[arg-type]


def test_real_flowers_hold_contradictions(shared_data: Path) -> None:
    manifest = Manifest.scan(open_source(shared_data / "flowers"))
    assert manifest.table.num_rows == 4317
    assert manifest.ok.num_rows == 4307
    assert {row["status"] for row in manifest.ledger()} == {"conflicting-labels", "duplicate"}
    manifest.check(0.01)
