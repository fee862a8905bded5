"""``harness demo``."""

from __future__ import annotations

import os
from pathlib import Path

from harness.cli.command import command, option, output_folder, say


@command()
@option("--out", type=output_folder, default="reports/demo", help="Run folder.")
@option("--cases", type=output_folder, default="cases/demo", help="Folder for the case files.")
def demo(out: Path, cases: Path) -> None:
    """Re-run a genuine AI Toolkit job that ships with the harness, on the CPU, and build its report.

    One case is deliberately wrong, so that drift can be seen. A picture that ComfyUI made of another
    case, with a wrong guidance too, is compared with its preview.
    """
    # Before torch is imported: threads spin while they wait, beside busy processes for minutes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    processes = _begin_to_import(out)
    from harness.cli.progress import LiveProgress
    from harness.cli.show import summarise
    from harness.demo import COMPARED, IMAGE, compare_demo, run_demo

    with LiveProgress() as progress:
        result = run_demo(out=out, cases=cases, progress=progress, processes=processes)
    compared = compare_demo(out=out, cases=cases)
    summarise(result)
    say(f"{IMAGE.name}, a picture of {COMPARED} by ComfyUI: {compared.changes[0]}")
    say(f"  prove it: harness compare {cases / COMPARED} {IMAGE}")
    say("both mistakes are deliberate; next: harness doctor, then harness import JOB_DIR with a job of yours")


def _begin_to_import(out: Path) -> int:
    """Return how many processes render; their libraries are imported beside what comes before."""
    from harness.runs.fork_server import begin, useful_processes

    processes = useful_processes()
    if processes > 1 and not out.exists():  # what was begun may have nothing left to render
        begin()
    return processes
