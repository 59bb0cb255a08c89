"""The section about what the run cost and what the classifier costs to use: seconds, memory, size, latency."""

from __future__ import annotations

from typing import Any

from eyebright.report import wording
from eyebright.report.content import ReportContent
from eyebright.report.section import Section


def cost_section(content: ReportContent) -> Section | None:
    """None when nothing of it was measured."""
    facts = _facts(content)
    if not content.timings and not facts:
        return None
    wall = content.wall_seconds if content.wall_seconds is not None else sum(content.timings.values())
    budget = content.budget_seconds
    whole = max(wall, budget or 0.0, sum(content.timings.values())) or 1.0
    step = 0.75 / max(1, len(content.timings) - 1)
    stages = [
        {
            "name": name, "seconds": seconds, "share": seconds / whole, "strength": 1 - step * index,
            "words": f"{name}: {wording.duration(seconds)}, {wording.percent(seconds / whole, 0)} of the time",
        }
        for index, (name, seconds) in enumerate(content.timings.items())
    ]  # fmt: skip
    context = {
        "stages": stages, "wall": wall, "budget": budget, "over": max(0.0, wall - budget) if budget else 0.0,
        "facts": facts,
    }  # fmt: skip
    return Section("cost", "What it costs", "cost.html", context)


def _facts(content: ReportContent) -> list[tuple[str, str, str]]:
    """Name, value and remark of each figure that is known."""
    cost = content.cost
    found = []
    if _is_number(cost.get("parameters")):
        found.append(("Parameters", wording.count(int(cost["parameters"])), "numbers that were learnt"))
    if _is_number(cost.get("weights_bytes")):
        found.append(("Weights", wording.size(int(cost["weights_bytes"])), "model.safetensors"))
    if _is_number(cost.get("onnx_bytes")):
        found.append(("Graph", wording.size(int(cost["onnx_bytes"])), "model.onnx, which is what is served"))
    latency = cost.get("latency_ms") or {}
    threads = latency.get("threads")
    with_threads = f", {wording.plural(threads, 'thread')}" if isinstance(threads, int) else ""
    if _is_number(latency.get("p50")):
        found.append(("One image, usually", f"{latency['p50']:.3g} ms", f"median{with_threads}"))
    if _is_number(latency.get("p99")):
        found.append(("One image, at worst", f"{latency['p99']:.3g} ms", f"99 of 100 are faster{with_threads}"))
    if _is_number(cost.get("images_per_second")):
        found.append(("Many images", f"{cost['images_per_second']:,.0f} / s", "in batches"))
    if _is_number(cost.get("peak_memory_bytes")):
        found.append(("Memory", wording.size(int(cost["peak_memory_bytes"])), "the most that the run used"))
    if _is_number(cost.get("peak_gpu_memory_bytes")):
        found.append(("GPU memory", wording.size(int(cost["peak_gpu_memory_bytes"])), "the most that the run used"))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
