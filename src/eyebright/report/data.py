"""The sections about the images: how many of what, and which were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.report import charts, wording
from eyebright.report.content import ReportContent
from eyebright.report.gallery import Gallery, chosen_samples
from eyebright.report.section import Section

_NAMED_CLASSES = 40
_LEDGER_EXAMPLES = 20
_STATUS_MEANINGS = {
    "empty": "files of zero bytes",
    "unreadable": "damaged beyond reading",
    "truncated": "cut off before the end",
    "too-large": "more pixels than allowed",
    "not-an-image": "no image, whatever the name says",
    "missing": "listed, but not there",
    "stray": "belongs to no class",
    "duplicate": "the same image as another one with the same label",
    "conflicting-labels": "the same image under different labels",
    "unlabelled": "no label",
}


def data_section(content: ReportContent, gallery: Gallery) -> Section:
    """Formats and sizes, images of each class and split, and a few of them."""
    totals = {name: sum(counts.get(name, 0) for counts in content.class_counts.values()) for name in content.classes}
    names = sorted(totals, key=lambda name: -totals[name])
    splits = [(split, wording.SPLIT_NAMES.get(split, split)) for split in content.class_counts]
    rows = [_row(name, totals[name], content.class_counts, splits) for name in names]
    context = {
        "finding": wording.data_finding(content.class_counts),
        "facts": content.facts,
        "rows": rows,
        "largest": max(totals.values(), default=1) or 1,
        "splits": splits,
        "many": len(rows) > _NAMED_CLASSES,
        "columns": charts.column_chart(
            [totals[name] for name in names],
            "Images of each class, largest class first",
            [row["words"] for row in rows],
        ),
        "samples": gallery.samples(chosen_samples(content.samples)),
    }
    return Section("data", "The images", "data.html", context)


def _row(
    name: str, total: int, counts: Mapping[str, Mapping[str, int]], splits: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    by_split = {split: counts[split].get(name, 0) for split, _ in splits}
    words = ", ".join(f"{wording.count(by_split[split])} {title}" for split, title in splits)
    return {"name": name, "counts": by_split, "total": total, "words": f"{name}: {words}"}


def ledger_section(content: ReportContent) -> Section:
    """Which images were not used, and why."""
    counts = Counter(row["status"] for row in content.ledger)
    groups = [
        {
            "status": status,
            "meaning": _STATUS_MEANINGS.get(status, ""),
            "number": number,
            "examples": [row for row in content.ledger if row["status"] == status][:_LEDGER_EXAMPLES],
        }
        for status, number in counts.most_common()
    ]
    used = sum(sum(classes.values()) for classes in content.class_counts.values())
    context = {"groups": groups, "used": used, "left_out": len(content.ledger)}
    return Section("ledger", "Images left out", "ledger.html", context)
