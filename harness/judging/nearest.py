"""A preview without its checkpoint between renders with the saved ones before and after it.

Where training went on smoothly and the settings are right, it lies between them. Much farther from both than
they are from each other, it has another cause beside the missing checkpoint. That is one kind of evidence and
no verdict: where the two are far apart themselves, a wrong setting does not show.
"""

from __future__ import annotations

from harness.metrics.scores import Scores
from harness.schema.result import NearestCheckpoints, Place

MIN_OUTSIDE = 1.5
"""By how many times a preview is farther from the nearer render than the two are from each other, in LPIPS.

Below that, checkpoints of quick training leave rightly set previews aside of the line between them
(``benchmarks/results/neighbours-cpu.txt``).
"""


def place_of(before: Scores, after: Scores, apart: Scores) -> Place:
    """Say where a preview lies.

    Args:
        before: the preview against the render with the earlier checkpoint.
        after: the preview against the render with the later one.
        apart: the two renders against each other.
    """
    return "outside" if min(before.lpips, after.lpips) > MIN_OUTSIDE * apart.lpips else "bracketed"


def describe(found: NearestCheckpoints) -> str:
    """Return the evidence as a clause with its numbers."""
    pairs = zip(found.steps, found.scores, strict=True)
    near = ", ".join(f"step {step} {_numbers(scores)}" for step, scores in pairs)
    if found.place is None or found.apart is None:
        return f"nearest checkpoints: {near}"
    cause = "; something beside the checkpoint differs" if found.place == "outside" else ""
    return f"nearest checkpoints: {near}, from each other {_numbers(found.apart)}: {found.place}{cause}"


def _numbers(scores: Scores) -> str:
    return f"SSIM {scores.ssim:.4f} LPIPS {scores.lpips:.4f}"
