"""``harness audit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from harness.cli.command import FiniteRange, choice_of, command, option, output_file, path, say
from harness.schema.quantizers import QUANTIZERS

DEFAULT = ("fp8_e4m3fn", "qfloat8", "int8", "nf4")
"""Quantizers that are asked where none is named: one for each usual way to 8 and to 4 bits."""


@command()
@click.argument("lora", metavar="LORA", type=path)
@option(
    "--base", metavar="FILE_OR_DIR",
    help="The base: a safetensors or GGUF file of the transformer, keyed for ComfyUI or diffusers, a folder "
    "in the hub's layout, or embedded:NAME. Without it: keys and sizes alone.",
)  # fmt: skip
@option(
    "--quantize", "quantizers", metavar="NAME", multiple=True, type=choice_of(QUANTIZERS),
    help="A quantizer that harness schema lists; again for more. Default: fp8_e4m3fn, qfloat8, int8, nf4; "
    "on a GGUF file none.",
)  # fmt: skip
@option("--multiplier", type=FiniteRange(-100, 100), default=1.0, help="The LoRA's strength.")
@option(
    "--rows", type=click.IntRange(min=0), default=256,
    help="Rows of each layer to read, evenly spread; 0 reads all.",
)  # fmt: skip
@option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="What computes.")
@option("--json", "json_file", type=output_file, help="Write the whole audit here as JSON.")
@option("--out", type=output_file, help="Write a page with histograms here, one HTML file.")
def audit(
    lora: Path,
    base: str | None,
    quantizers: tuple[str, ...],
    multiplier: float,
    rows: int,
    device: str,
    json_file: Path | None,
    out: Path | None,
) -> None:
    """Say what of a LoRA arrives, without a render: keys by loader, and what a base's precision rounds away.

    Per layer and for each way of applying it: the share of the exact change that remains, the share of
    weights that move at all, and the cosine of the two. The base is read piece by piece, never whole. Of a
    GGUF file, K-quants too: what survives beside the weight, and added as it is unpacked, as by ComfyUI-GGUF.

    Exit code: 0 audited, 2 bad input.

    Example: harness audit my_lora.safetensors --base flex2-fp8.safetensors --quantize fp8_e4m3fn
    """
    from harness._util.allocator import keep_freed_memory
    from harness._util.atomic_files import write_json
    from harness.data import CHECKPOINTS
    from harness.errors import HarnessError
    from harness.precision.audit import audit as examine
    from harness.precision.audit_text import sentences
    from harness.precision.weights_file import is_gguf

    if quantizers and base is None:
        fix = "name the base with --base, or leave --quantize out"
        raise HarnessError("rounds the weights of a base, and none is given", field="--quantize", fix=fix)
    keep_freed_memory()
    place = None
    if base is not None:
        place = CHECKPOINTS / base.removeprefix("embedded:") if base.startswith("embedded:") else Path(base)
    _refuse_files_of(place, {"--json": json_file, "--out": out})
    found = examine(
        lora,
        base=place,
        quantizers=quantizers or (() if place is not None and is_gguf(place) else DEFAULT),
        multiplier=multiplier,
        rows=rows or None,
        device=device,
    )
    for line in sentences(found):
        say(line)
    if json_file is not None:
        write_json(json_file, found.to_json())
    if out is not None:
        from harness.report.audit_page import write_audit_page

        say(f"page: {write_audit_page(found, out)}")


def _refuse_files_of(base: Path | None, outputs: Mapping[str, Path | None]) -> None:
    """Refuse to write over the base: it is no path to the option itself, which may name it otherwise.

    Raises:
        HarnessError: names the option.
    """
    from harness.errors import HarnessError

    for name, file in outputs.items():
        if base is None or file is None or not file.exists():
            continue
        if base.resolve() in (file.resolve(), *file.resolve().parents):
            raise HarnessError("is a file of --base", file=file, field=name, fix="name another file")
