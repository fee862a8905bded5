"""A comparison in words, as the command line prints it."""

from __future__ import annotations

from collections.abc import Iterator

from harness._util.redaction import redact, visible
from harness.comparison.compare import Comparison
from harness.comparison.setting_row import SettingRow, State

_MARKS = {State.SAME: "=", State.DIFFERS: "≠", State.TOOL: "~", State.UNKNOWN: "?"}


def sentences(found: Comparison) -> Iterator[str]:
    """Yield the lines that say what was found: source, settings, ladder, what to change, what remains.

    Text of strangers is in them; no line holds a line break, a control character or a token.
    """
    for line in _lines(found):
        yield visible(redact(" ".join(line.splitlines())))


def _lines(found: Comparison) -> Iterator[str]:
    settings = found.image.settings
    version = f" {settings.version}" if settings.version else ""
    yield f"{found.image.path.name}: {settings.tool.value}{version}, read from {settings.source}"
    for note in (*settings.notes, *settings.loras_off):
        yield f"  note: {note}"
    for what in settings.unknown:
        yield f"  not understood: {what}"
    yield from _table(found.rows)
    yield from verdicts(found)
    if found.proof is not None:
        yield from _ladder(found)
    for change in found.changes:
        yield f"  change: {change}"
    for line in found.remaining:
        yield f"  remains: {line}"
    yield ""


def _table(rows: list[SettingRow]) -> Iterator[str]:
    """Yield one line a setting; ``=`` the same, ``≠`` differs, ``~`` the tool's own way, ``?`` not known."""
    for row in rows:
        inference = "not known" if row.inference is None else row.inference
        both = f"{row.preview}" if row.state is State.SAME else f"{row.preview} · {inference}"
        more = f"  [{row.place}]" if row.place and row.state is not State.SAME else ""
        yield f"  {_MARKS[row.state]} {row.setting:20} {both}{more}{f' – {row.note}' if row.note else ''}"


def verdicts(found: Comparison) -> Iterator[str]:
    """Yield the lines that say what separates the two: settings, the tool, or the size."""
    if found.incomparable is not None:
        yield f"not comparable: {found.incomparable}"
    names = ", ".join(row.setting for row in found.differences)
    own = ", ".join(row.setting for row in found.tools_own)
    unknown = [row.setting for row in found.rows if row.state is State.UNKNOWN]
    if names:
        yield f"differs: {names}"
    elif not unknown and found.image.settings.unknown:
        yield "no setting differs that was understood: what was not may separate the two"
    elif not unknown:
        said = f": what separates the two is the tool's own way ({own})" if own else ""
        yield f"no setting differs{said}"
    if unknown and found.proof is None:
        yield f"not known: {', '.join(unknown)}"


def _ladder(found: Comparison) -> Iterator[str]:
    proof = found.proof
    assert proof is not None
    near = "bit for bit" if proof.psnr is None else f"{proof.psnr:g} dB"
    said = (
        "its own settings, rendered here, give the image"
        if proof.reached
        else "nothing found gives the image"
    )
    yield f"{said}: {near} ({proof.renders} renders)"
    for rung in proof.rungs:
        what = ", ".join(rung.settings) or "the image"
        mark = "~" if rung.tool else " "
        distance = "identical" if rung.psnr is None else f"{rung.psnr:.1f} dB"
        closed = f"{round(rung.closed, 2) + 0:+.0%}" if rung.settings else ""
        yield f"  {mark} {what:52} {distance:>10} from the preview {closed}".rstrip()
