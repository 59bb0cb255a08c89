"""Plant known faults into a copy of a folder of images, and say where they are.

The copy has `train`, `val` and `test` folders, so that copies of an image can be planted across the split. Faults:

    wrong labels       3 % of the images are put into the folder of another class
    near-duplicates    5 % of the images get a copy in the same class: cropped, resized, recompressed or brightened;
                       of these, copies of 2 % of the images go to another split than their original (a leak)
    shortcut           all images of one class are saved again at another JPEG quality
    strays, broken     a folder of a tool, a text file, an image outside every class; cut, empty and false images

An image gets at most one of the first two faults.
"""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path

from PIL import Image, ImageEnhance

WRONG_LABELS = 0.03
COPIES = 0.05
LEAKS = 0.02
SHORTCUT_QUALITY = 60
CHANGES = ("crop", "resize", "recompress", "brightness")


@dataclasses.dataclass
class Planted:
    """What was planted; paths are relative to the root of the copy.

    Attributes:
        wrong: path of every image with a wrong label, and its right one.
        copies: pairs (original, copy), with the change.
        leaks: the pairs among them that lie in two splits.
        shortcut: the class with another JPEG quality, or None.
        broken: paths of files that are no readable images.
        strays: paths that belong to no class.
        origins: for every image, where it lies in the untouched data; for a copy, where its original does.
    """

    wrong: dict[str, str]
    copies: dict[tuple[str, str], str]
    leaks: set[tuple[str, str]]
    shortcut: str | None
    broken: set[str]
    strays: set[str]
    origins: dict[str, str]


def plant(data: Path, root: Path, *, seed: int, shortcut: bool = True) -> Planted:
    """Copy the class folders in `data` to `root` with faults; the same seed plants the same ones."""
    draw = random.Random(seed)
    classes = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    images = [(name, path) for name in classes for path in sorted((data / name).iterdir())]
    splits = {path: draw.choices(("train", "val", "test"), (0.7, 0.15, 0.15))[0] for _, path in images}
    order = list(range(len(images)))
    draw.shuffle(order)
    count = len(images)
    wrong = set(order[: round(WRONG_LABELS * count)])
    copied = order[len(wrong) : len(wrong) + round(COPIES * count)]
    crossing = set(copied[: round(LEAKS * count)])
    odd = draw.choice(classes) if shortcut else None
    planted = Planted({}, {}, set(), odd, set(), set(), {})
    places: dict[int, str] = {}
    for number, (name, path) in enumerate(images):
        label = draw.choice([other for other in classes if other != name]) if number in wrong else name
        place = f"{splits[path]}/{label}/{path.name}"
        if place in planted.origins:  # the same photo in two classes, one of them put to the other now
            place = f"{splits[path]}/{label}/{path.stem}-again{path.suffix}"
        places[number] = place
        planted.origins[place] = f"{name}/{path.name}"
        if number in wrong:
            planted.wrong[place] = name
        _write(root / place, _recompressed(path, SHORTCUT_QUALITY) if label == odd else path.read_bytes())
    for number in copied:
        name, path = images[number]
        split = splits[path]
        if number in crossing:
            split = draw.choice([other for other in ("train", "val", "test") if other != split])
        change = draw.choice(CHANGES)
        place = f"{split}/{name}/{path.stem}-copy.jpg"
        _write(root / place, _changed(path, change, draw, SHORTCUT_QUALITY if name == odd else None))
        planted.copies[places[number], place] = change
        planted.origins[place] = f"{name}/{path.name}"
        if number in crossing:
            planted.leaks.add((places[number], place))
    _break(root, classes, draw, planted)
    return planted


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _recompressed(path: Path, quality: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _changed(path: Path, change: str, draw: random.Random, quality: int | None) -> bytes:
    with Image.open(path) as file:
        image = file.convert("RGB")
        # The copy is saved as the original was, unless recompression is the change (or the class has its own quality).
        saved: dict[str, object] = {"quantization": file.quantization} if hasattr(file, "quantization") else {}
    width, height = image.size
    if change == "crop":
        share = draw.uniform(0.80, 0.95)  # of each side: 64 to 90 % of the area is left
        left, top = draw.uniform(0, width * (1 - share)), draw.uniform(0, height * (1 - share))
        image = image.crop((round(left), round(top), round(left + width * share), round(top + height * share)))
    elif change == "resize":
        factor = draw.choice((draw.uniform(0.5, 0.8), draw.uniform(1.25, 2.0)))
        image = image.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
    elif change == "brightness":
        image = ImageEnhance.Brightness(image).enhance(draw.choice((draw.uniform(0.6, 0.85), draw.uniform(1.15, 1.4))))
    else:
        saved = {"quality": draw.randint(30, 70)}
    if quality is not None:
        if change == "recompress":  # or it would be the same file as the original, which has this quality too
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", **saved)
            image = Image.open(buffer)
        saved = {"quality": quality}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **saved)
    return buffer.getvalue()


def _break(root: Path, classes: list[str], draw: random.Random, planted: Planted) -> None:
    """Strays, and files that are no readable images: fewer than 1 % of the images."""
    name = classes[0]
    whole = next(path for path in sorted((root / "train" / name).iterdir())).read_bytes()
    broken = {
        f"train/{name}/cut-1.jpg": whole[: len(whole) // 2],
        f"train/{classes[-1]}/cut-2.jpg": whole[: len(whole) * 3 // 4],
        f"val/{name}/header-only.jpg": whole[:20],
        f"test/{name}/empty.jpg": b"",
        f"train/{name}/page.jpg": b"<html><body>404 Not Found</body></html>",
        f"train/{classes[-1]}/noise.jpg": draw.randbytes(2000),
    }
    strays = {
        "train/.ipynb_checkpoints/": (f"train/.ipynb_checkpoints/{name}.jpg", whole),
        f"train/{name}/notes.txt": (f"train/{name}/notes.txt", b"to be sorted"),
        "train/unsorted.jpg": ("train/unsorted.jpg", whole),
        "__MACOSX/": ("__MACOSX/._photo.jpg", b"\x00\x05\x16\x07"),
    }
    for place, content in broken.items():
        _write(root / place, content)
        planted.broken.add(place)
    for place, (file, content) in strays.items():
        _write(root / file, content)
        planted.strays.add(place)
