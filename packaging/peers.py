"""Make the environments of the programs that `make bench` measures Eyebright against.

    .venv/bin/python packaging/peers.py .venv-peers

`.venv-peers` holds what stands in peers.txt, `.venv-peers/ultralytics` what stands in peers-ultralytics.txt. Each is
made anew when its list, or the environment that this runs in, has changed. A file of paths lets both find the torch,
torchvision, timm and NumPy of this environment after their own packages: a second torch would take 5 GB, and both
sides of a comparison are to run the same one. Eyebright itself is not among what they can import.

Without Ultralytics the bench goes on and leaves its row out; without the rest it cannot run (exit code 1).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

LISTS = Path(__file__).parent
STAMP = ".made-of"


def make(folder: Path, wanted: Path) -> Path:
    """The Python of an environment in `folder` that has all packages of the list `wanted`; made when it is not there.

    Raises:
        subprocess.CalledProcessError: pip could not install something; it has said what.
    """
    python = folder / "bin" / "python"
    here = sysconfig.get_paths()["purelib"]
    made_of = hashlib.sha256(f"{wanted.read_text(encoding='utf-8')}\n{here}\n{sys.version}".encode()).hexdigest()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of:
        return python
    print(f"making {folder} of {wanted.name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False, symlinks=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--requirement", str(wanted)], check=True)
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # The paths of such a file are searched after the environment's own; the .pth files over there, the one of the
    # editable Eyebright among them, are not read.
    (Path(own) / "eyebright-environment.pth").write_text(here + "\n", encoding="utf-8")
    stamp.write_text(made_of, encoding="utf-8")
    return python


def main() -> None:
    """Make both; say it where one cannot be had."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv-peers")
    try:
        make(folder, LISTS / "peers.txt")
    except subprocess.CalledProcessError as error:
        sys.exit(f"The peers of packaging/peers.txt could not be installed into {folder}: {error}.")
    try:
        make(folder / "ultralytics", LISTS / "peers-ultralytics.txt")
    except subprocess.CalledProcessError as error:
        print(f"Ultralytics could not be installed, so it is left out of the table: {error}.", file=sys.stderr)


if __name__ == "__main__":
    main()
