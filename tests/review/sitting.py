"""A small audit over real photos, with suggestions of every kind."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from eyebright.data.audit.findings import Audit, Example, Finding, ImageRef, Suggestion
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.decode import decode_image
from eyebright.review import ReviewSession


@dataclasses.dataclass(frozen=True)
class Sitting:
    """An audit and what a review of it needs."""

    audit: Audit
    images: Callable[[str], Image.Image]
    corrections: Path
    photos: dict[str, list[str]]

    def session(self) -> ReviewSession:
        return ReviewSession(self.audit, images=self.images, corrections=self.corrections)


def make_sitting(flowers_sample: Path, tmp_path: Path) -> Sitting:
    """Seven likely wrong labels, a near-copy across the splits, one photo under two labels, and a group of three.

    The gravest come first: the photo under two labels, the near-copy, then the labels, then the group.
    """
    root = tmp_path / "flowers"
    photos: dict[str, list[str]] = {}
    for name in ("daisy", "rose", "tulip"):
        for split, part in {"train": slice(0, 12), "test": slice(12, 16)}.items():
            (root / split / name).mkdir(parents=True)
            for photo in sorted((flowers_sample / name).iterdir())[part]:
                shutil.copyfile(photo, root / split / name / photo.name)
        photos[name] = [f"train/{name}/{path.name}" for path in sorted((root / "train" / name).iterdir())]
    shutil.copyfile(root / photos["rose"][0], root / "train" / "tulip" / "same.jpg")
    with Image.open(root / photos["rose"][1]) as photo:
        photo.resize((96, 96)).save(root / "test" / "rose" / "near.png")
    for number in (1, 2):
        with Image.open(root / photos["daisy"][0]) as photo:
            photo.rotate(3 * number).save(root / "train" / "daisy" / f"turned-{number}.png")
    source = open_source(root)
    manifest = Manifest.scan(source)
    rows = {row["source"]: row for row in manifest.table.to_pylist()}

    def suggest(action: str, finding: str, *sources: str, **more: object) -> Suggestion:
        ids = tuple(rows[source]["id"] for source in sources)
        label = more.pop("label", rows[sources[0]]["label"])
        return Suggestion(action=action, finding=finding, ids=ids, sources=sources, label=label, **more)  # type: ignore[arg-type]

    def finding(code: str, section: str, severity: str, *together: str) -> Finding:
        refs = tuple(ImageRef(rows[name]["id"], name, rows[name]["label"], rows[name]["split"]) for name in together)
        examples = (Example(refs),) if refs else ()
        return Finding(
            code=code, section=section, severity=severity, title=f"title of {code}", count=1, why="", examples=examples  # type: ignore[arg-type]
        )  # fmt: skip

    wrong = [
        suggest(
            "relabel", "label-errors", name, to="tulip", confidence=0.99 - 0.01 * number, reason=f"reason {number}"
        )
        for number, name in enumerate(photos["rose"][2:9])
    ]  # fmt: skip
    audit = Audit(
        manifest=manifest,
        findings=[
            finding("two-labels", "duplicates", "critical"),
            finding("z-near-copies", "duplicates", "critical"),
            finding("label-errors", "labels", "warning"),
            finding("near-duplicates", "duplicates", "note"),
        ],
        suggestions=[
            *wrong,
            suggest("group", "near-duplicates", photos["daisy"][0], "train/daisy/turned-1.png",
                    "train/daisy/turned-2.png", confidence=0.9, accept=True),
            suggest("drop", "z-near-copies", photos["rose"][1], to=rows["test/rose/near.png"]["id"], accept=True),
            suggest("quarantine", "two-labels", photos["rose"][0], accept=True),
            suggest("quarantine", "two-labels", "train/tulip/same.jpg", accept=True),
        ],
    )  # fmt: skip
    return Sitting(
        audit=audit,
        images=lambda name: decode_image(source.read(name)),
        corrections=tmp_path / "corrections.csv",
        photos=photos,
    )
