"""An audit in sentences and lines of a table, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from harness._util.words import some
from harness.precision.audit import Audit
from harness.precision.key_audit import LoaderKeys
from harness.precision.layer_audit import LayerAudit
from harness.precision.survival import WAYS, Survival, Way

SHOWN_LAYERS = 10


def sentences(found: Audit) -> Iterator[str]:
    """Yield what a user reads: keys, what survives over all layers, and the worst layers."""
    yield from map(_keys, found.keys)
    if found.unread is not None:
        yield f"its changes were not measured: the file {found.unread}"
        return
    if found.multiplier == 0:
        yield "it changes nothing at --multiplier 0"
        return
    if found.is_zero:
        yield "it changes nothing: lora_A or lora_B of every layer is zero, as before the first step"
        return
    yield from left_out(found)
    if found.base is None:
        yield f"{len(found.layers)} layers; the largest changes (root mean square):"
        yield from (f"  {each.module}  {each.change:.3g}" for each in found.layers[:SHOWN_LAYERS])
        return
    read = "every row" if found.rows is None else f"up to {found.rows} rows of each layer"
    yield f"{len(found.layers)} layers on {found.base.name}, {read}:"
    yield f"  {'quantize':16} {'LoRA':10} {'survives':>9} {'cosine':>7} {'moved':>7}"
    yield from (_line(name, way, each) for (name, way), each in found.total.items())
    yield from losses(found)
    yield "worst layers:"
    yield from (_layer(each) for each in found.layers[:SHOWN_LAYERS])


def left_out(found: Audit) -> Iterator[str]:
    """Yield which quantizers were left out, and why."""
    for name, why in found.left_out.items():
        yield f"{name} is left out: {why.removeprefix(f'{name} ')}"


def losses(found: Audit) -> Iterator[str]:
    """Yield a finding for each way that rounds at least 1 % of the LoRA away, and what that does."""
    for each in found.losses:
        said = f"{each.quantizer}, {WAYS[each.way]}: rounds away {each.lost:.0%} of this LoRA"
        yield said if each.expected is None else f"{said}; {each.expected}"


def _keys(keys: LoaderKeys) -> str:
    if keys.refused is not None:
        return f"{keys.loader}: {keys.refused}"
    ignored = f", ignores {len(keys.ignored)} ({some(keys.ignored)})" if keys.ignored else ""
    count = len(keys.applied)
    return f"{keys.loader}: applies {count} key{'s' if count != 1 else ''}{ignored}"


def _line(name: str, way: Way, each: Survival) -> str:
    return f"  {name:16} {way:10} {each.share:9.1%} {each.cosine:7.3f} {each.moved_share:7.1%}"


def _layer(layer: LayerAudit) -> str:
    (name, way), worst = min(layer.applied.items(), key=lambda pair: pair[1].share)
    sizes = f"change {layer.change:.2g}, weight {layer.weight:.2g}"
    return f"  {layer.module}  {worst.share:.1%} ({name}, {way}); {sizes}"
