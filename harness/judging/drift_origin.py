"""Whether a drift comes from the server that rendered, or from the settings: pure, no pixels, no model.

Where a server's image was also held against the reference's render of the same request, its distance from
that is judged by the row's own limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from harness._util.words import some
from harness.judging.verdict import judge
from harness.metrics.scores import Scores
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Row, Verdict

Origin = Literal["server", "settings"]

DRIFTING = (Verdict.DRIFT, Verdict.REGRESSION)
MAX_NAMES = 5


def drift_origin(row: Row) -> Origin | None:
    """Return what a row's drift comes from; None for a row without one, or that nothing was held against."""
    if row.verdict not in DRIFTING or row.against_reference is None:
        return None
    return _origin(row.against_reference, row.tolerance)


def beside_reference(verdict: Verdict, scores: Scores, tolerance: Tolerance) -> str:
    """Say how far a server's image is from the reference's, and what a drift comes from.

    Args:
        verdict: the verdict against the preview.
        scores: of the server's image against the reference's.
    """
    if scores.pixels.identical:
        found = "the server's image is the reference's, bit for bit"
    else:
        psnr = "∞" if scores.psnr is None else f"{scores.psnr:.1f}"
        found = (
            f"the server's image differs from the reference's: SSIM {scores.ssim:.4f}, "
            f"LPIPS {scores.lpips:.4f}, PSNR {psnr} dB"
        )
    if verdict not in DRIFTING:
        return found
    return f"the drift comes from the {_origin(scores, tolerance)}: {found}"


def by_origin(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return the cases that drift by what their drift comes from, where that is known."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if (origin := drift_origin(row)) is not None:
            names.setdefault(origin, []).append(row.case)
    return names


def origins_in_words(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each origin of a drift, with how many cases it has, and which."""
    return [
        f"drift from the {origin}: {len(cases)} ({some(cases, MAX_NAMES)})"
        for origin, cases in sorted(names.items())
    ]


def _origin(scores: Scores, tolerance: Tolerance) -> Origin:
    return "server" if judge(scores, tolerance)[0] is Verdict.DRIFT else "settings"
