"""Build a report of 5,000 results with images, and open it in headless Chromium.

python benchmarks/report.py [COUNT] [RUN]

The rows are those of a run, multiplied: of RUN, or of the demo, which is made first; every row has images
of its own on the disk. Chromium is /usr/bin/chromium unless CHROMIUM names another.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness.demo import run_demo
from harness.report.build import build_report
from harness.runs.folder import RESULTS
from harness.runs.results import RunResult, load_run
from harness.schema.result import Row, Verdict

JOBS, LORA_STEPS = 20, 250
FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
  const entry = list.getEntriesByName("first-contentful-paint")[0];
  if (entry) done(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""
FILTER = """async () => {
  const started = performance.now();
  const find = document.getElementById("find");
  find.value = "job07";
  find.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return [performance.now() - started, document.querySelectorAll("ol.lines li:not([hidden])").length];
}"""


def main() -> None:
    """Make the run, build its report twice, open it, print what each took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "nightly"
        if len(sys.argv) > 2:
            multiply(load_run(Path(sys.argv[2])), folder, count)
        else:
            multiply(run_demo(out=Path(root) / "demo", cases=Path(root) / "cases"), folder, count)
        print(f"{count} results, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
        for attempt in ("first build", "again, nothing changed"):
            started, spent = time.perf_counter(), processor_time()
            index = build_report(folder)
            took, spent = time.perf_counter() - started, processor_time() - spent
            print(f"{attempt}: {took:.1f} s, {spent:.1f} s of processor time in all its processes")
        written = [file for name in ("cases", "assets") for file in (folder / name).iterdir()]
        print(f"index.html: {index.stat().st_size / 1e6:.2f} MB")
        print(
            f"cases and assets: {len(written)} files, {sum(f.stat().st_size for f in written) / 1e6:.0f} MB"
        )
        measure(index, next((folder / "cases").glob("*.html")))


def processor_time() -> float:
    """Return the seconds that this process and those that it waited for have computed."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def multiply(result: RunResult, folder: Path, count: int) -> None:
    """Write a run of ``count`` rows, each with copies of a real row's images."""
    folder.mkdir()
    shutil.copyfile(result.folder / "run.json", folder / "run.json")
    chance = random.Random(0)
    with (folder / RESULTS).open("w", encoding="utf-8") as stream:
        for index in range(count):
            row = _copy(result.folder, folder, result.rows[index % len(result.rows)], index, chance)
            stream.write(row.model_dump_json() + "\n")


def _copy(source: Path, folder: Path, row: Row, index: int, chance: random.Random) -> Row:
    step, name = index // JOBS % LORA_STEPS, f"job{index % JOBS:02}/{index:09}"
    target = folder / "images" / name
    target.mkdir(parents=True)
    paths = {}
    for kind, path in {"preview": row.images.preview, "rerun": row.images.rerun, **row.images.maps}.items():
        if path is not None:
            file = target / f"{kind}{Path(path).suffix}"
            shutil.copyfile(source / path, file)
            paths[kind] = file.relative_to(folder).as_posix()
    images = row.images.model_copy(
        update={
            "preview": paths.pop("preview"),
            "rerun": paths.pop("rerun"),
            "maps": paths,
        }
    )
    preview = row.description.preview.model_copy(update={"step": step})
    ssim = chance.uniform(0.9, 1)
    return row.model_copy(
        update={
            "case": name,
            "images": images,
            "ssim": ssim,
            "verdict": Verdict.MATCH if ssim >= row.tolerance.ssim_min else Verdict.DRIFT,
            "description": row.description.model_copy(update={"id": name, "preview": preview}),
        }
    )


def measure(index: Path, case: Path) -> None:
    """Print the time to the first paint of the list and of a case, and that of a filter."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        for attempt in ("first", "second", "third"):
            page.goto(index.as_uri(), wait_until="commit")
            paint = page.evaluate(FIRST_PAINT)
            page.wait_for_load_state("load")
            loaded = page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
            print(f"list, {attempt} time: first paint after {paint:.0f} ms, loaded after {loaded} ms")
        took, shown = page.evaluate(FILTER)
        print(f"search: {shown} rows shown after {took:.0f} ms")
        page.goto(case.as_uri())
        print(f"case: first paint after {page.evaluate(FIRST_PAINT):.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
