"""What was recorded against what was rendered: settings, provenance, environment, baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from harness.judging.baseline import flat, rendered_facts
from harness.judging.drift_origin import drift_origin
from harness.report.formatting import moment, number, plain, short_hash, size
from harness.runs.plan import training_dtype
from harness.schema.case import Case
from harness.schema.result import Baseline, Rendered, Row

State = Literal["same", "same name", "differs", "not recorded", "not rendered", "no effect"]
NOT_RECORDED = "not recorded"
NOT_RENDERED = "not rendered"


@dataclass(frozen=True)
class Setting:
    """One line of the settings table: as recorded with the preview, as rendered by the reference."""

    name: str
    recorded: str
    rendered: str
    state: State


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


def settings(row: Row) -> tuple[Setting, ...]:
    """Return every setting that decides a picture, in the order in which a reader would check them."""
    case, trained, rendered = row.description, row.description.trained, row.rendered
    shown = size(*case.preview.size)
    lora = short_hash(case.lora.sha256 if case.lora else None)
    qtype_te = trained.qtype_te or trained.qtype
    multiplier = None if (found := row.settings.get("network_multiplier")) is None else float(found)
    transformer, text_encoder = _rendered_quantized(rendered)
    lines = [
        _line("Size", shown, rendered and size(rendered.width, rendered.height)),
        _line("Steps", row.settings.get("sample_steps"), rendered and rendered.steps),
        _line("Guidance", row.settings.get("guidance_scale"), rendered and rendered.guidance_scale),
        _line("Seed", row.settings.get("seed"), rendered and rendered.seed),
        _line("LoRA", lora, rendered and short_hash(rendered.lora_sha256)),
        _line("LoRA multiplier", plain(multiplier), rendered and plain(rendered.network_multiplier)),
        _line("Dtype", training_dtype(case) or case.trained.dtype, rendered and rendered.dtype),
        _line("Transformer quantized", _quantized(case, trained.quantize, trained.qtype), transformer),
        _line("Text encoder quantized", _quantized(case, trained.quantize_te, qtype_te), text_encoder),
        _line("Noise era", None, rendered and rendered.noise),
        _base(trained.base, rendered),
    ]
    if row.settings.get("neg"):
        effect = "passed, no effect" if rendered else NOT_RENDERED
        lines.append(Setting("Negative prompt", plain(row.settings["neg"]), effect, "no effect"))
    asked = size(row.settings.get("width", 0), row.settings.get("height", 0))
    if asked != lines[0].recorded:
        lines.insert(0, _line("Size asked for", asked, rendered and lines[0].rendered))
    return tuple(lines)


def _rendered_quantized(rendered: Rendered | None) -> tuple[str | None, str | None]:
    """Return how the transformer and the text encoder were quantized in a render, in words."""
    if rendered is None:
        return None, None
    kind, _, part = rendered.quantize.partition("-")
    if kind == "none":
        return "no", "no"
    return ("no" if part == "te" else kind), ("no" if part == "transformer" else kind)


def baseline_facts(row: Row) -> tuple[Fact, ...]:
    """Return the accepted baseline that a row was judged against; empty where there is none."""
    found = row.baseline
    if found is None:
        return ()
    scores = found.scores
    return (
        Fact("Accepted", f"{moment(found.accepted)} by {found.accepted_by}"),
        Fact("Reason", found.reason),
        Fact("Verdict then", str(found.verdict)),
        *(
            (Fact("SSIM then", number(scores.ssim, 4)), Fact("LPIPS then", number(scores.lpips, 4)))
            if scores
            else ()
        ),
        *((Fact("Nearest result", f"{found.number} of {found.of} accepted"),) if found.of > 1 else ()),
        *_latents_now(found),
        Fact("Image now", "bit-equal" if found.identical else "changed"),
        Fact("Environment", found.environment + ("" if found.same_environment else " (another one)")),
    )


def _latents_now(found: Baseline) -> tuple[Fact, ...]:
    if found.latents_identical is None:
        return ()
    if found.latent_distance is None:
        return (Fact("Latents now", "bit-equal" if found.latents_identical else "changed"),)
    distance = found.latent_distance
    return (Fact("Latents now", f"relative L2 {distance.relative_l2:.4f}, cosine {distance.cosine:.6f}"),)


def provenance(row: Row) -> tuple[Fact, ...]:
    """Return what made the re-run, beyond its settings, and what did not go as asked for."""
    rendered = row.rendered
    if rendered is None:
        return ()
    return (
        *(Fact("Warning", text) for text in row.warnings),
        *((Fact("Rendered by", f"run {row.taken_from}"),) if row.taken_from else ()),
        *_beside_reference(row),
        Fact("Pipeline", f"{rendered.pipeline}, source {short_hash(rendered.pipeline_sha256)}"),
        Fact("Base revision", rendered.revision),
        Fact("Scheduler", rendered.scheduler),
        Fact("LoRA mode", rendered.lora_mode),
        Fact("Device", f"{rendered.device}, offload {rendered.offload}"),
        Fact("Attention", rendered.attention),
        Fact("Engine", ": ".join(filter(None, (rendered.engine, rendered.engine_reason)))),
        Fact("Sigmas", short_hash(rendered.sigmas_sha256)),
    )


def _beside_reference(row: Row) -> tuple[Fact, ...]:
    """Say what a server's image is beside the reference's, and what a drift comes from."""
    scores, origin = row.against_reference, drift_origin(row)
    if scores is None:
        return ()
    found = f"SSIM {scores.ssim:.4f}, LPIPS {scores.lpips:.4f}"
    if scores.pixels.identical:
        found = "bit-identical"
    return (Fact("Against the reference", found), *((Fact("Drift from", f"the {origin}"),) if origin else ()))


def flat_words(environment: dict[str, Any]) -> dict[str, str]:
    """Return a nested environment as ``{"packages.torch": "2.14.1", …}``, values in words."""
    return {name: plain(value) for name, value in flat(environment).items()}


def environment_changes(row: Row, run: dict[str, str]) -> tuple[Setting, ...]:
    """Return where a row's environment is not the run's: name, the run's value, the row's value."""
    return tuple(line for line in _side_by_side(run, flat_words(row.environment)) if line.state == "differs")


def baseline_environment(row: Row) -> tuple[Setting, ...]:
    """Return the accepted rendering and environment beside this row's, what differs first."""
    if row.baseline is None or not row.baseline.facts:
        return ()
    now = {**row.environment, "rendered": rendered_facts(row)}
    lines = _side_by_side(flat_words(row.baseline.facts), flat_words(now))
    return tuple(sorted(lines, key=lambda line: line.state != "differs"))


def _side_by_side(before: dict[str, str], now: dict[str, str]) -> tuple[Setting, ...]:
    pairs = {name: (before.get(name, "absent"), now.get(name, "absent")) for name in sorted({*before, *now})}
    return tuple(
        Setting(name, then, this, "same" if then == this else "differs")
        for name, (then, this) in pairs.items()
    )


def assumptions(row: Row) -> tuple[str, ...]:
    """Return what the import had to assume, without what a finding already says."""
    messages = [finding.message for finding in row.findings]
    return tuple(each for each in row.description.assumptions if not any(each in text for text in messages))


def _line(name: str, recorded: Any, rendered: Any) -> Setting:
    shown = NOT_RENDERED if rendered is None else plain(rendered)
    if recorded is None:
        return Setting(name, NOT_RECORDED, shown, "not recorded")
    if rendered is None:
        return Setting(name, plain(recorded), shown, "not rendered")
    return Setting(name, plain(recorded), shown, "same" if plain(recorded) == shown else "differs")


def _base(recorded: str | None, rendered: Rendered | None) -> Setting:
    """Compare checkpoints by name only: a job records no hash of its base."""
    line = _line("Base", recorded, rendered and rendered.base)
    same_name = _base_name(line.recorded) == _base_name(line.rendered)
    return replace(line, state="same name") if line.state == "differs" and same_name else line


def _base_name(base: str) -> str:
    return PurePosixPath(base.removeprefix("embedded:").partition("@")[0]).name


def _quantized(case: Case, quantized: bool, qtype: str | None) -> str | None:
    """Say how a part was quantized; None where the case records nothing about its training."""
    if case.trained == type(case.trained)():
        return None
    return (qtype or "yes") if quantized else "no"
