"""A scorer's threads import no library for the first time: two that import one at once may get half of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.data import JOBS

SCORE = """
import sys, threading
from pathlib import Path
import numpy as np
from harness.metrics.images import load_rgb
from harness.runs.scorer import Scorer, ScoringJob
from harness.schema.result import Images

class Recorder:
    def find_spec(self, name, path=None, target=None):
        ours = threading.current_thread() is threading.main_thread()
        if not ours and name.partition(".")[0] not in sys.stdlib_module_names:
            print(name)

run, preview, metrics = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
(run / "preview.jpg").write_bytes(Path(preview).read_bytes())
image = np.roll(load_rgb(run / "preview.jpg"), 1, axis=0)
scorer = Scorer(metrics=metrics)
sys.meta_path.insert(0, Recorder())
result = scorer.run(ScoringJob(run, Images(preview="preview.jpg", rerun="rerun.png"), image, True))
assert result.scored is not None and result.scored.matched.ssim < 1
"""


@pytest.mark.parametrize("metrics", [[], ["ssimulacra2", "jod"]])
def test_a_scorers_threads_import_nothing(tmp_path, metrics):
    preview = next((JOBS / "emoji_inkprint" / "samples").glob("*.jpg"))
    command = [sys.executable, "-c", SCORE, tmp_path, preview, *metrics]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
