"""What a folder of eight previews with one wrong setting costs, in renders of the cases' own length.

    python benchmarks/folder_of_previews.py [--guidance 3]

The guidance that the shipped job recorded is altered, as in benchmarks/genuine_jobs.py, and its last eight
previews are diagnosed together. About 3 minutes of one core.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import harness  # noqa: E402
from benchmarks.genuine_jobs import Alteration, sample  # noqa: E402

COUNT = 8


def main() -> None:
    """Alter, import, diagnose and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--guidance", type=float, default=3.0)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    altered = Alteration("guidance", "inkprint", "", sample(guidance_scale=chosen.guidance))
    harness.import_job(altered.make(folder / "job"), out=folder / "cases", steps="all")
    cases = [case for case in harness.load_cases([folder / "cases"]) if case.lora is not None][-COUNT:]
    era = [case.model_copy(update={"noise": "current"}) for case in cases]  # as the job's torch drew
    files = [case.file for case in cases]
    saved = [harness.save_case(case, file) for case, file in zip(era, files, strict=True) if file]
    (found,) = harness.diagnose_cases(saved)
    print(*found.sentences(), sep="\n")
    for member in found.members:
        print(f"  {member.case}: {member.spent:.1f}{'' if member.shared else ', of its own'}")
    dearest = max(member.spent for member in found.members)
    print(f"{found.spent / dearest:.2f} times what the one that costs most takes")


if __name__ == "__main__":
    main()
