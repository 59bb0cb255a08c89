"""First contentful paint and size of report pages, in headless Chromium.

python benchmarks/first_paint.py RUN/report.html ... [--rounds 7]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path

from playwright.sync_api import sync_playwright

from machine import describe

PAINTED = """() => new Promise((resolve) => {
  const look = () => {
    const [entry] = performance.getEntriesByName("first-contentful-paint");
    if (entry) resolve(entry.startTime); else setTimeout(look, 5);
  };
  look();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    times: dict[Path, list[float]] = {page: [] for page in options.pages}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for _ in range(options.rounds):  # pages in turns
            for page in options.pages:
                tab = browser.new_page(viewport={"width": 1440, "height": 900})
                tab.goto(page.resolve().as_uri())
                times[page].append(float(tab.evaluate(PAINTED)))
                tab.close()
        browser.close()
    print(describe())
    print("| page | first contentful paint, median (slowest) | size |\n|---|---|---|")
    for page, values in times.items():
        size = page.stat().st_size / 1e6
        print(f"| {page.parent.name} | {statistics.median(values):.0f} ms ({max(values):.0f}) | {size:.2f} MB |")


if __name__ == "__main__":
    main()
