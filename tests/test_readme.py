"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"<!-- run by tests/test_readme.py -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_readme_has_both_examples() -> None:
    assert len(BLOCKS) == 2


def test_main_example(flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On real photos, with a smaller budget than the README's so that the suite stays short."""
    cats = tmp_path / "photos" / "cat"
    for number, folder in enumerate(sorted(flowers_sample.iterdir())):
        target = cats if number == 0 else tmp_path / "photos" / folder.name
        target.mkdir(parents=True)
        for count, photo in enumerate(sorted(folder.iterdir())):
            (target / f"{count}.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    code = BLOCKS[0].replace('budget="5m"', 'budget="20s", size=64')
    assert code != BLOCKS[0]
    names: dict[str, object] = {}
    exec(code, names)
    prediction = names["prediction"]
    assert prediction.label in {"cat", "rose", "tulip"}  # type: ignore[attr-defined]


def test_estimator_example(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[1], {})
    assert float(capsys.readouterr().out) > 0.95
