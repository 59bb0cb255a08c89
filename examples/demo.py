"""What `make demo` runs: a classifier for handwritten digits, its report, and a few predictions, in about a minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EYEBRIGHT = [str(Path(sys.executable).with_name("eyebright"))]


def show(*arguments: str) -> None:
    """Run a command as a user would type it."""
    print(f"\n$ eyebright {' '.join(arguments)}", flush=True)
    subprocess.run([*EYEBRIGHT, *arguments], check=True)


def main() -> None:
    """Train, predict, verify."""
    before = set(Path("runs").glob("demo*"))
    show("train", "digits", "--budget", "1m", "--name", "demo")
    (run,) = set(Path("runs").glob("demo*")) - before
    images = Path("runs") / "demo-images"
    images.mkdir(exist_ok=True)
    save_some_digits(images)
    show("predict", str(run), str(images))
    show("verify", str(run))
    print(f"\nOpen the report in a browser: {(run / 'report.html').resolve().as_uri()}")


def save_some_digits(folder: Path) -> None:
    """Write a few digits as PNG files, as a camera or scanner would have them."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in (0, 7, 24, 101, 1700):
        pixels = (digits.images[number] * (255 / 16)).round().astype("uint8")
        Image.fromarray(pixels).save(folder / f"digit-{digits.target[number]}-{number}.png")


if __name__ == "__main__":
    main()
