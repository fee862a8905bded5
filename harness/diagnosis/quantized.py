"""Other quantizers: ranked by what they change in two calls of the model, then rendered.

Each rounds weights in a way of its own, so that even an early step says which one points to the preview.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.lines import Lines
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.schema.quantizers import PARTS, QUANTIZERS, other_mixture, quantizer_of, recorded_settings
from harness.schema.render import lora_modes

LEFT = 0.4
"""Share of the base's distance above which the nearest trial leaves it open that a quantizer is the cause."""
TWINS = (
    frozenset({"qfloat8", "float8", "fp8_scaled_row"}),
    frozenset({"qint8", "int8", "bnb_int8"}),
)
"""Quantizers with the same grid for each row, which may render the same bits."""
FIRST = 3
"""Quantizers of the best estimates that are rendered before other parts and LoRA modes of the nearest."""
WAYS = ("merged", "fp32", "stochastic", "unpacked", "adapter", "peft")
"""Of applying a LoRA to quantized weights, the likeliest first."""
IDLE = 0.1
"""Cosine below which a quantizer's other ways of applying the LoRA are not estimated."""
MAX_ALIKE = 5
"""Quantizers that are rendered in the place of one within the floor."""


def recorded(trials: TrialRenderer, found: list[Factor]) -> list[Factor]:
    """Return what the job recorded, which a case may lack, and the other mixture of a GGUF base."""
    trained = trials.context.case.trained
    qtype = trained.qtype or trained.qtype_te or "qfloat8"
    wanted = {
        *recorded_settings(qtype, trained.quantize, trained.quantize_te),
        other_mixture(trials.context.request.quantize),
    }
    return [each for each in found if each.axis.name == "quantize" and each.values[0] in wanted]


class Quantized:
    """Quantizers on top of ``base``, which no table makes likely, each with every way of applying the LoRA.

    Args:
        found: factors of the axis ``quantize``.

    Attributes:
        ranked: their estimates, the best first.
    """

    def __init__(self, progress: Progress, lines: Lines, base: Trial, found: list[Factor]) -> None:
        self._progress, self._lines, self._base = progress, lines, base
        ranked = lines.ranked(base, found)
        pointing = [each.factor for each in ranked if each.agreement >= IDLE]
        ways_of = list(_other_ways(progress.trials, pointing))
        every = [*found, *ways_of]
        ranked += lines.ranked(base, ways_of)
        self.ranked = sorted(ranked, key=lambda each: (-round(each.agreement, 3), every.index(each.factor)))
        self._left = self.ranked

    def pointing(self, least: float) -> Iterator[Render]:
        """Yield those whose estimate is at least ``least``, once; then what varies the nearest."""
        ranked = [each for each in self._left if each.agreement >= least]
        self._left = [each for each in self._left if each.agreement < least]
        for number, estimate in enumerate(ranked, start=1):
            yield from self._lines.each(self._base, [estimate])
            if number in {FIRST, len(ranked)}:
                yield from self._varied()

    def every(self) -> Iterator[Render]:
        """Yield what is left, the best estimate first.

        Where rounding alone decides which of two pictures a seed draws, no estimate and no distance tells
        a quantizer: only the identical render does.
        """
        if self._progress.followed.distance >= LEFT * self._base.distance:
            yield from self._lines.values(estimate.factor for estimate in self.ranked)

    def _varied(self) -> Iterator[Render]:
        """Yield the nearest quantizer in other parts, then with the LoRA applied in other ways."""
        for varied in (parts, ways):
            nearest = self._progress.followed.settings
            if "quantize" not in self._base.settings:
                yield from self._lines.settings(varied(self._progress.trials, nearest))


def parts(_trials: TrialRenderer, settings: Settings) -> list[Settings]:
    """Return ``settings`` with the same quantizer for other parts, then with activations left or rounded."""
    name, own = quantizer_of(str(settings.get("quantize", "none")))
    if name is None:
        return []
    others = [f"{name}{end}" for end, held in PARTS.items() if set(held) != set(own)]
    others += recorded_settings(name, "transformer" in own, "text_encoder_2" in own)[1:]
    return [{**settings, "quantize": each} for each in others]


def ways(trials: TrialRenderer, settings: Settings) -> list[Settings]:
    """Return ``settings`` with other ways of applying the LoRA to its quantized weights."""
    request = trials.request(settings)
    if request.lora is None or request.transformer_quantizer is None:
        return []
    known = lora_modes(request.transformer_quantizer) - {request.effective_lora_mode}
    return [{**settings, "lora_mode": mode} for mode in WAYS if mode in known]


def _other_ways(trials: TrialRenderer, found: list[Factor]) -> Iterator[Factor]:
    """Yield inference tools' quantizers with each other way of applying the LoRA that changes the picture."""
    for factor in found:
        name, _ = quantizer_of(str(factor.values[0]))
        if name is not None and QUANTIZERS[name].side == "inference" and "lora_mode" not in factor.base:
            for settings in ways(trials, factor.settings(factor.values[0])):
                if (mode := settings["lora_mode"]) != "peft":  # it gives what the adapter gives
                    yield replace(factor, base={**factor.base, "lora_mode": mode})


def twins(trials: TrialRenderer, best: Trial) -> list[Trial]:
    """Render what may be identical where ``best`` is, with a quantizer: those that cannot be told apart."""
    name, own = quantizer_of(str(best.settings.get("quantize", "none")))
    others_of = [each for group in TWINS if name in group for each in QUANTIZERS if each in group - {name}]
    end = next(end for end, held in PARTS.items() if set(held) == set(own)) if name else ""
    made = [trials.attempt({**best.settings, "quantize": f"{each}{end}"}) for each in others_of]
    return [each for each in made if each is not None and each.distance == best.distance]


def requantized(trials: TrialRenderer, lines: Lines, base: Trial, anchor: Trial) -> Iterator[Render]:
    """Yield the renders of other quantizers that point to the preview, in the place of the anchor's."""
    if "quantize" not in anchor.settings or "quantize" in base.settings:
        return
    yield from lines.settings([*parts(trials, anchor.settings), *ways(trials, anchor.settings)])
    found = factors(trials, base.settings, lambda axis: axis.name == "quantize")
    for estimate in lines.ranked(base, found)[:MAX_ALIKE]:
        value = estimate.factor.values[0]
        if value != anchor.settings["quantize"]:
            yield from lines.settings([{**anchor.settings, "quantize": value}])
