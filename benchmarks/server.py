"""What ``--server`` costs beside a render in process, and what restarts of the server do to a long run.

Uses the server of ``tests/systems/reference_server.py`` on loopback and the embedded checkpoint:

    OMP_NUM_THREADS=1 python benchmarks/server.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.importers.aitoolkit import import_job
from harness.runs.plan import RunOptions, plan
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.systems.server_client import ServerClient
from harness.systems.server_renderer import ServerRenderer
from tests.systems.loopback import restarting
from tests.systems.reference_server import ReferenceServer

JOB = Path(__file__).parents[1] / "harness/data/jobs/emoji_inkprint"


def cases_of(folder: Path, count: int) -> list[Case]:
    """Return cases of two steps that differ in their seeds."""
    first = import_job(JOB, out=folder, steps="200").cases[2]
    made = []
    for seed in range(count):
        settings = first.settings.model_copy(update={"sample_steps": 2, "seed": seed})
        case = first.model_copy(update={"id": f"job/s{seed:03d}", "settings": settings})
        made.append(case)
    return made


def overhead(server: ReferenceServer, cases: list[Case]) -> None:
    """Print how much longer a render takes by way of HTTP, in milliseconds."""
    client = ServerClient(server.url)
    remote = ServerRenderer(client, client.models(), Path("/"))
    requests = [item.request for item in plan(cases, RunOptions(device="cpu"), "cpu") if item.request]
    extra = []
    for request in requests:
        started = time.perf_counter()
        remote.render(request)
        extra.append(1000 * (time.perf_counter() - started - server.seconds[-1]))
    warm = extra[1:]
    print(
        f"{len(warm)} renders of {1000 * statistics.median(server.seconds[1:]):.0f} ms: HTTP adds "
        f"{statistics.median(warm):.1f} ms (median), {max(warm):.1f} ms at most"
    )


def restarts(server: ReferenceServer, cases: list[Case], out: Path, times: int) -> None:
    """Print whether every case has one row after a run whose server restarts."""
    before = len(server.posts)
    with restarting(server, times, every=len(cases) // times):
        run_cases(cases, out=out, options=RunOptions(device="cpu", server=server.url))
    lines = (out / "results.jsonl").read_text().splitlines()
    rows = Counter(line.partition('"variant"')[0] for line in lines)
    print(
        f"{len(cases)} cases, {times} restarts, {server.forgotten} requests forgotten, "
        f"{len(server.posts) - before} sent: {len(rows)} cases have a row, {len(lines) - len(rows)} doubled"
    )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        server = ReferenceServer(work / "outputs")
        cases = cases_of(work / "cases", asked.cases)
        overhead(server, cases[:40])
        restarts(server, cases, work / "run", asked.restarts)
        server.close()


if __name__ == "__main__":
    main()
