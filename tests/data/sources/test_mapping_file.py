"""Names come out of a YAML file as they stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sources.mapping_file import read_mapping
from eyebright.errors import DataError

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return read_mapping(path, "the class mapping")


def test_what_yaml_takes_for_something_else_stays_text(tmp_path: Path) -> None:
    content = read(tmp_path, "no: yes\n007: 1e3\n2020-01-01: [on, 0x10, 3.0]\nnull: off\nleft: null\nout: ~\nempty:\n")
    assert content == {
        "no": "yes", "007": "1e3", "2020-01-01": ["on", "0x10", "3.0"], "null": "off",
        "left": None, "out": None, "empty": None,
    }  # fmt: skip
    assert yaml.safe_load("no: yes") == {False: True}  # what would have become of it


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.one_of(st.none(), NAMES, st.lists(NAMES, min_size=1, max_size=3)), max_size=4))
def test_whatever_is_dumped_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("yaml")
    assert read(folder, yaml.safe_dump(content, allow_unicode=True, sort_keys=False)) == content


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cane: dog\ngatto: cat\ncane: hound\n", r"'cane' twice \(lines 1 and 3\)"),
        ("parts:\n  a:\n    x: y\n    x: z\n", r"'x' twice \(lines 3 and 4\)"),
        ("- cane\n- gatto\n", "does not hold a mapping"),
        ("cane: [dog\n", r"not valid YAML.*line 2"),
        ("? [a, b]\n: c\n", "a key that is no name"),
        ("a: {b: {c: {d: {e: {f: {g: h}}}}}}", "nested deeper"),
        ("a: &x [*x]", "nested deeper"),
    ],
)
def test_what_is_no_mapping_is_explained(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)


def test_nothing_in_a_file_is_constructed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    assert read(tmp_path, f"a: !!python/object/apply:os.mkdir ['{marker}']\n") == {"a": [str(marker)]}
    assert not marker.exists()


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"map\.yaml cannot be read: No such file"):
        read_mapping(tmp_path / "map.yaml", "the class mapping")
    (tmp_path / "map.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_mapping(tmp_path / "map.yaml", "the class mapping")
    (tmp_path / "map.yaml").write_bytes(b"")
    assert read_mapping(tmp_path / "map.yaml", "the class mapping") == {}
