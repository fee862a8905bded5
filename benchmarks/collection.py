"""Collect 5,000 cases with pytest: how long it takes, and that it imports no torch.

    python benchmarks/collection.py [COUNT]

Plugins that only the harness's own tests need are off: one of them, hypothesis, imports itself at the end of
every session.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROBE = """
import sys, time, pytest
off = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "anyio", "timeout")]
code = pytest.main(["--collect-only", "-qq", *off, "cases"])
heavy = sorted({"torch", "diffusers", "pandas", "skimage", "lpips"} & set(sys.modules))
print(f"{time.process_time():.2f} s of processor time,",
      "imported:", ", ".join(heavy) or "none of torch, diffusers, pandas, skimage, lpips")
sys.exit(int(code))
"""
FOLDERS, SUFFIX = 20, ".case.yaml"


def main() -> None:
    """Write the cases, collect them in a fresh process, print the times."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as root:
        write_cases(Path(root) / "cases", count)
        compiled = {"PYTHONPYCACHEPREFIX": f"{root}/compiled", "PYTHONDONTWRITEBYTECODE": ""}
        for attempt in ("first, compiling the plugin", "second"):
            started = time.perf_counter()
            run = subprocess.run(
                [sys.executable, "-c", PROBE],
                cwd=root,
                env=os.environ | compiled,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = time.perf_counter() - started
            print(f"{attempt}: {count} cases in {seconds:.2f} s, {run.stdout.splitlines()[-1]}")


def write_cases(folder: Path, count: int) -> None:
    """Write ``count`` copies of a case of the demo's size, each with an id of its own."""
    from harness.importers.aitoolkit import import_job

    job = importlib.resources.files("harness.data") / "jobs" / "emoji_inkprint"
    with tempfile.TemporaryDirectory() as made:
        import_job(Path(str(job)), out=Path(made) / "demo", steps="last")
        copy_case(next(Path(made).rglob(f"*{SUFFIX}")), folder, count)


def copy_case(source: Path, folder: Path, count: int) -> None:
    """Write ``count`` copies of a case file, each with an id of its own."""
    text = source.read_text(encoding="utf-8")
    for index in range(count):
        job_name = f"job{index % FOLDERS:02}"
        path = folder / job_name / f"{index:09}_0{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = re.sub("^id: .*$", f"id: {job_name}/{index:09}_0", text, count=1, flags=re.MULTILINE)
        path.write_text(own, encoding="utf-8")


if __name__ == "__main__":
    main()
