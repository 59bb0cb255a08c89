"""What the command line says of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eyebright.run import Run


def run_facts(run: Run) -> dict[str, Any]:
    """The result of a run for `--json`."""
    record = run.bundle.record
    outcome = run.environment.get("outcome", {})
    return {
        "run": str(run.path),
        "report": str(run.report),
        "bundle": str(run.bundle.path),
        "classes": list(record.classes),
        "preprocess": record.preprocess.as_dict(),
        "metrics": run.metrics,
        **{
            key: outcome.get(key)
            for key in ("reasons", "warnings", "seconds", "wall_seconds", "stopped", "peak_memory_bytes")
        },
    }


def describe_run(run: Run) -> str:
    """The result of a run for people."""
    metrics, outcome = run.metrics["test"], run.environment.get("outcome", {})
    accuracy = metrics["accuracy"]
    interval = f"95 % interval {accuracy['low']:.1%} to {accuracy['high']:.1%}"
    took, peak = outcome.get("wall_seconds", 0), outcome.get("peak_memory_bytes", 0) / 2**30
    lines = [
        "",
        f"test accuracy  {accuracy['value']:.1%}  ({interval}, {metrics['images']} images)",
        *_without_leaks(run.metrics.get("leaks", {})),
        f"macro F1       {metrics['macro_f1']['value']:.3f}   calibration error {metrics['ece']['value']:.3f}",
        f"took           {took:.0f} s, peak memory {peak:.1f} GiB",
        f"report         {run.report}",
        f"classifier     {run.file('bundle')}",
        "",
        f"next: eyebright predict {run.path} YOUR_IMAGE.jpg",
    ]
    return "\n".join(lines)


def _without_leaks(leaks: Mapping[str, Any]) -> list[str]:
    """The accuracy to quote when the user's split has test images that another split holds too."""
    if "clean" not in leaks:
        return []
    clean, leaked = leaks["clean"]["accuracy"], leaks["leaked"]["images"]
    return [
        f"without leaks  {clean['value']:.1%}  (95 % interval {clean['low']:.1%} to {clean['high']:.1%}; "
        f"{leaked} test images are in another split too)"
    ]
