"""Small sets cut from the data sets beside the checkout, by position in their sorted lists.

Nothing that a program made of the images decides which of them are taken.
"""

from __future__ import annotations

from pathlib import Path

from comparison import LeftOut


def count_images(folder: Path) -> int:
    """Files below a folder that are images by their ending."""
    return sum(path.suffix.lower() in (".jpg", ".jpeg", ".png") for path in folder.rglob("*"))


def cut_folders(source: Path, target: Path, counts: dict[str, int]) -> None:
    """Links to the first images of each class: so many for each split (`""` for no split), none of them twice."""
    if not source.is_dir():
        raise LeftOut(f"there is no {source.name} beside the checkout")
    if target.exists():
        return
    for kind in sorted(path for path in source.iterdir() if path.is_dir()):
        images = iter(sorted(path for path in kind.iterdir() if path.is_file()))
        for split, count in counts.items():
            folder = target / split / kind.name
            folder.mkdir(parents=True)
            for _, image in zip(range(count), images, strict=False):
                (folder / image.name).hardlink_to(image)


def cut_parquet(source: Path, target: Path, counts: dict[str, int]) -> None:
    """The first rows of each split, in the same layout."""
    if not source.is_dir():
        raise LeftOut(f"there is no {source.name} beside the checkout")
    if target.exists():
        return
    import pyarrow.dataset
    import pyarrow.parquet

    target.mkdir(parents=True)
    for split, count in counts.items():
        files = sorted(str(path) for path in source.glob(f"{split}-*.parquet"))
        table = pyarrow.dataset.dataset(files, format="parquet").head(count)
        pyarrow.parquet.write_table(table, target / f"{split}-00000-of-00001.parquet")
