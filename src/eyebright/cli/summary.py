"""What the command line says of a finished run."""

from __future__ import annotations

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
        f"macro F1       {metrics['macro_f1']['value']:.3f}   calibration error {metrics['ece']['value']:.3f}",
        f"took           {took:.0f} s, peak memory {peak:.1f} GiB",
        f"report         {run.report}",
        f"classifier     {run.file('bundle')}",
        "",
        f"next: eyebright predict {run.path} YOUR_IMAGE.jpg",
    ]
    return "\n".join(lines)
