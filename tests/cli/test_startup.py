"""What each verb loads: packages are counted, not seconds, so that no heavy import creeps in where it is not needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eyebright.cli.main import VERBS

HEAVY = {
    "torch", "timm", "torchvision", "numpy", "PIL", "pyarrow", "onnx", "onnxruntime", "sklearn", "scipy", "pandas",
    "matplotlib", "pyarrow.dataset", "openvino",
}  # fmt: skip
TABLES = {"numpy", "PIL", "pyarrow"}

SCRIPT = """\
import contextlib, io, json, sys
from eyebright.cli.main import main
heavy, calls = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])
said = []
for call in calls:
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(call)
    said.append([code, sorted(heavy & set(sys.modules))])
print(json.dumps(said))
"""


def loaded(*calls: list[str]) -> list[tuple[int, set[str]]]:
    """The exit code of each call, one after the other in a fresh process, and what was loaded by then."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(sorted(HEAVY)), json.dumps(calls)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [(code, set(names)) for code, names in json.loads(done.stdout)]


def test_the_help_of_no_verb_loads_anything_heavy() -> None:
    said = loaded(*([verb, "--help"] for verb in VERBS))
    assert dict(zip(VERBS, said, strict=True)) == dict.fromkeys(VERBS, (0, set()))


def test_lists_load_no_more_than_they_show() -> None:
    calls = [["cache"], ["cache", "clean", "--dry-run"], ["recipes"], ["recipes", "list", "--json"]]
    assert loaded(*calls) == [(0, set())] * len(calls)
    assert loaded(["datasets"]) == [(0, TABLES)]


def test_a_prediction_loads_what_it_computes_with(trained_run: Path) -> None:
    image = trained_run.parents[1] / "stripes" / "angle-1" / "0.png"
    ((code, names),) = loaded(["predict", str(trained_run), str(image)])
    assert code == 0
    assert names <= {*TABLES, "onnxruntime"}


def test_scoring_and_comparing_load_no_torch_and_draw_nothing(trained_run: Path, tmp_path: Path) -> None:
    data = trained_run.parents[1] / "stripes"
    other = shutil.copytree(trained_run, tmp_path / "other")
    calls = [
        ["evaluate", str(trained_run), str(data), "--include-seen", "--allow-bad", "5%"],
        ["compare", str(trained_run), str(other), "--output", str(tmp_path / "comparison")],
    ]
    evaluated, compared = (loaded(call)[0] for call in calls)
    assert evaluated[0] == 0
    # pyarrow itself looks for pandas when it makes a column of a list.
    assert evaluated[1] <= {*TABLES, "onnxruntime", "scipy", "pandas"}
    assert compared[0] == 0
    assert compared[1] <= {*TABLES, "onnxruntime", "scipy", "pandas"}


@pytest.mark.parametrize(
    ("module", "spares"),
    [
        # The figures of the report are drawn when training is over.
        ("eyebright.jobs.train", {"matplotlib", "pyarrow.dataset"}),
        ("eyebright.report", {"matplotlib", "torch"}),
        ("eyebright.data.audit.near_duplicates", {"sklearn", "torch", "matplotlib"}),
        ("eyebright.jobs.predict", {"torch", "timm", "torchvision", "scipy", "sklearn", "pandas", "matplotlib"}),
    ],
)
def test_a_module_does_not_load_what_it_needs_later_or_never(module: str, spares: set[str]) -> None:
    code = (
        f"import json, sys, {module}; print(json.dumps([name for name in {sorted(spares)!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
