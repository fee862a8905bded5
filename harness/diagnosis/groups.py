"""Groups of single factors that nothing strong points to, in the order that the distance suggests."""

from __future__ import annotations

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import Factor
from harness.diagnosis.lines import unranked
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.prices import split
from harness.diagnosis.trials import Trial, TrialRenderer, on_other_kernel, rms

POINTING, LIKELY, STRONG = 0.1, 0.25, 0.45
"""Cosines from which a factor points to the preview at all, is likely, and is tried before other noise."""
QUANTIZE_REACH = 60.0
"""Distance that other quantization hardly exceeds; what does, in 2 to 4 bits, is tried later."""
NUMBERS = ("guidance_scale", "network_multiplier", "steps")
"""Numbers of which all values are rendered early where much is missing, in this order."""
UNMOVED, SENSITIVE = 0.2, 0.45
"""Share of the distance that T5's kernel changes at most where other rounding comes after the numbers, and
from which it comes before them though more is missing than rounding makes elsewhere."""
CLOSE = 1.5
"""How near the estimate of a schedule must be, in the base's own distance, to be likely near the preview."""


def by_distance(
    trials: TrialRenderer, base: Trial, ranked: list[Estimate], numeric: list[Factor]
) -> list[list[Estimate]]:
    """Return unlikely factors and numerics in the order that the distance suggests.

    Args:
        ranked: estimates of all factors but numerics and noise, best first.
    """
    distance, is_dear = base.distance, trials.context.device == "cuda"
    unlikely = [each for each in ranked if each.agreement < LIKELY]
    quantized = unranked(each for each in numeric if each.axis.name == "quantize")
    stays, loads = split(each for each in numeric if each.axis.name != "quantize")
    rounded, loaded = unranked(stays), unranked(loads)
    dear = [loaded, quantized] if is_dear else [quantized, loaded]
    if distance < MAX_ROUNDING:
        near = [each for each in unlikely if min(each.left.values(), default=256) < CLOSE * distance]
        near.sort(key=lambda each: min(each.left.values()))
        near = [*(each for each in unlikely if each.factor.axis.name in NUMBERS[:2]), *near]
        others = [each for each in unlikely if each not in near]
        solvers = [each for each in near if each.factor.axis.name == "scheduler"]
        numbers = unshifted_first([each for each in near if each not in solvers], ranked)
        if is_dear:
            return [rounded, numbers, solvers, others, *dear]
        moved = moved_by_kernel(trials, base)
        if moved > SENSITIVE:
            return [[*rounded, *loaded], numbers, solvers, quantized, others]
        first, then = (numbers, rounded) if moved < UNMOVED else (rounded, numbers)
        return [first, then, [*solvers, *loaded], quantized, others]
    pointing = [each for each in unlikely if each.agreement >= POINTING]
    others = [each for each in unlikely if each not in pointing]
    if is_dear:
        return [pointing, others, rounded, *dear]
    if distance > QUANTIZE_REACH:
        return [pointing, others, quantized, rounded, loaded]
    return [quantized, pointing, others, rounded, loaded]


def unshifted_first(chosen: list[Estimate], ranked: list[Estimate]) -> list[Estimate]:
    """Return ``chosen`` with dynamic shifting off before steps, which imitate it: it is one render."""
    names = [each.factor.axis.name for each in chosen]
    if "steps" not in names or "dynamic_shifting" in names[: names.index("steps")]:
        return chosen
    off = [each for each in ranked if each.factor.axis.name == "dynamic_shifting"]
    rest = [each for each in chosen if each not in off]
    place = next(number for number, each in enumerate(rest) if each.factor.axis.name == "steps")
    return [*rest[:place], *off, *rest[place:]]


def moved_by_kernel(trials: TrialRenderer, base: Trial) -> float:
    """Return what T5's other kernel changes, as a share of what is missing; in fp32 next to nothing."""
    other = trials.attempt(on_other_kernel(trials, base.settings))
    return 0.0 if other is None else rms(base.image, other.image) / base.distance
