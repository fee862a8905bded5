"""What a preview's own file shows of why its re-run may differ."""

from __future__ import annotations

from harness._util.words import size_text
from harness.errors import HarnessError
from harness.metrics.codec import Codec
from harness.metrics.images import is_flat, load_rgb
from harness.schema.case import Case
from harness.schema.result import Finding

_TRAINERS_JPEG = "JPEG, 4:2:0, quality 75 tables"


def flat(case: Case) -> Finding | None:
    """Return a finding of a preview of one colour."""
    try:
        image = load_rgb(case.preview_path)
    except HarnessError:
        return None  # the codec's finding says so
    if not is_flat(image):
        return None
    return Finding(
        "flat",
        "error",
        "the preview is one flat colour: NaN weights or a failed decode made it, and no setting explains it",
        "preview.file",
        f"look for NaN in the LoRA of step {case.preview.step}: training may have diverged",
    )


def size(case: Case) -> Finding | None:
    """Return a finding of a preview of another size than its re-run will have."""
    asked = (case.settings.width, case.settings.height)
    shown = case.preview.size
    spec = case.spec
    if (rendered := spec.snap(*asked)) == shown:
        return None
    if shown != (made := spec.preview_size(*asked)):
        return _other_size(shown, asked, made, spec.latent_divisor)
    return Finding(
        "size",
        "error",
        f"the preview is {size_text(shown)} and the reference renders {size_text(rendered)} of "
        f"{size_text(asked)}: it floors to {spec.divisor}, the trainer to 8 and then {spec.latent_divisor}; "
        "the first noise has another shape, so the picture is another one",
        "preview.width",
        f"harness diagnose renders it at {size_text(shown)} with divisor {spec.latent_divisor}",
    )


def _other_size(shown: tuple[int, int], asked: tuple[int, int], made: tuple[int, int], unit: int) -> Finding:
    """Return the finding of a preview that the trainer does not make of the recorded size."""
    found = (
        f"the preview is {size_text(shown)}, and the trainer makes {size_text(made)} of {size_text(asked)}"
    )
    if shown[0] % unit or shown[1] % unit:
        found += f": it was scaled or cut after that, since what it draws is a multiple of {unit}"
        return Finding("size", "error", found, "preview.width", "give the preview as AI Toolkit wrote it")
    found += ": it was scaled or cut after that, or drawn at another size than the recorded one"
    fix = (
        f"give the preview as AI Toolkit wrote it, or set width {shown[0]} and height {shown[1]} in the case"
    )
    return Finding("size", "error", found, "settings.width", fix)


def older_config(case: Case) -> Finding | None:
    """Return a finding of a preview that is older than its job's config."""
    if case.preview.older_config is None:
        return None
    return Finding(
        "older-config",
        "warning",
        "the preview is older than the config: prompt, seed, steps or guidance may have been others then",
        "preview.older_config",
        "compare with the config of that time, if it was kept",
    )


def codec(case: Case) -> Finding | None:
    """Return a finding of how the preview is encoded, and whether somebody saved it again."""
    try:
        saved = Codec.of(case.preview_path)
    except HarnessError as error:
        return Finding("preview", "error", f"the preview {error.found}", "preview.file", error.fix or "")
    if case.trained.arch is not None and _saved_again(saved, case.preview_path.suffix.lower()):
        return Finding(
            "codec",
            "warning",
            f"the preview is {saved.describe()}, and the trainer writes {_TRAINERS_JPEG}: it was saved "
            "again, and what that changed counts as drift",
            "preview.file",
            "give the preview as AI Toolkit wrote it",
        )
    if saved.lossless:
        return None
    return Finding(
        "codec",
        "info",
        f"the preview is {saved.describe()}: the re-run is encoded the same way before it is compared",
        "preview.file",
    )


def _saved_again(codec: Codec, suffix: str) -> bool:
    """Say whether a file of that suffix cannot be one that the trainer wrote, with Pillow's defaults."""
    is_jpeg = codec.format == "jpeg"
    return (is_jpeg and codec.describe() != _TRAINERS_JPEG) or (suffix in {".jpg", ".jpeg"} and not is_jpeg)
