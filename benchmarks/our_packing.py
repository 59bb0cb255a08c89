"""Our side of bench.py's packing row: all of a folder decoded, hashed, resized and written, from a cold cache.

    python benchmarks/our_packing.py FOLDER --size 224

What `eyebright train` does before its first epoch can come from the pack. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from eyebright.data.manifest import Manifest
from eyebright.data.pack import pack_images
from eyebright.data.sources import open_source
from eyebright.preprocess import Preprocess


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        source = open_source(given.data)
        manifest = Manifest.scan(source)
        pack = pack_images(manifest, source, Preprocess(size=given.size), cache=Path(cache))
        seconds = time.perf_counter() - began
        count = len(pack.ids)
    print(json.dumps({
        "figures": [count / seconds],
        "images": count,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
