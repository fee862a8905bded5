"""How often ``harness compare`` names the quantizer of a picture whose ComfyUI workflow states it.

    python benchmarks/stated_quantizers.py [--steps N]

A truth is a genuine picture's workflow with another loader or another file, and what its settings render on
the checkpoint that draws. It is right where the picture is reached, the quantizer is among the differences,
and no other setting is that the unquantized picture has not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.diagnosis import JOB  # noqa: E402
from harness.comparison.compare import Comparison, compare  # noqa: E402
from harness.comparison.image_request import image_request  # noqa: E402
from harness.importers.aitoolkit import import_job  # noqa: E402
from harness.pipeline.renderer import ReferenceRenderer  # noqa: E402
from harness.precision.availability import missing  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.schema.case import Case  # noqa: E402
from harness.schema.quantizers import quantizer_of  # noqa: E402

PICTURE = ROOT / "tests/data/inference_images/inkprint_00002_.png"
LOADERS: dict[str, tuple[str, dict[str, str]]] = {
    "fp8_e4m3fn": ("UNETLoader", {"weight_dtype": "fp8_e4m3fn"}),
    "fp8_e5m2": ("UNETLoader", {"weight_dtype": "fp8_e5m2"}),
    "fp8_scaled": ("UNETLoader", {"unet_name": "flex.2_fp8_scaled.safetensors"}),
    "gguf_q8_0": ("UnetLoaderGGUF", {"unet_name": "Flex.2-preview-Q8_0.gguf"}),
    "gguf_q4_0": ("UnetLoaderGGUF", {"unet_name": "Flex.2-preview-Q4_0.gguf"}),
    "gguf_q4_k_m": ("UnetLoaderGGUF", {"unet_name": "Flex.2-preview-Q4_K_M.gguf"}),
    "gguf_q8_0, unpacked in fp32": (
        "UnetLoaderGGUFAdvanced",
        {"unet_name": "Flex.2-preview-Q8_0.gguf", "dequant_dtype": "float32", "patch_dtype": "default"},
    ),
    "nf4": ("CheckpointLoaderNF4", {"ckpt_name": "flex.2-preview.safetensors"}),
    "bnb_int8": ("UNETLoader", {"unet_name": "flex.2-bnb-int8.safetensors"}),
}
"""Loader and what it is given, by the quantizer that it means."""


def main() -> None:
    """Make every picture, compare it with the preview, and print what was named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=8, help="denoising steps of the pictures")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = import_job(JOB, out=Path(folder) / "cases", steps="all").cases
        case = next(each for each in cases if (each.preview.step, each.preview.index) == (300, 0))
        renderer = ReferenceRenderer(device="cpu")
        plain = {
            row.setting for row in told("none", None, case, Path(folder), renderer, chosen.steps).differences
        }
        right = count = 0
        for name, loader in LOADERS.items():
            if (why := missing(name.partition(",")[0])) is not None:
                print(f"{name}: {why}")
                continue
            started, count = time.perf_counter(), count + 1
            found = told(name, loader, case, Path(folder), renderer, chosen.steps)
            named = {row.setting: row.inference for row in found.differences}
            is_right = (
                found.proof is not None
                and found.proof.reached
                and quantizer_of(str(named.get("quantize", "none")))[0] == name.partition(",")[0]
                and named.keys() - plain == {"quantize"}
            )
            right += is_right
            spent = 0 if found.proof is None else found.proof.spent
            verdict = "right" if is_right else "WRONG"
            print(
                f"{verdict}  {name:28} {spent:5.1f} renders, {time.perf_counter() - started:4.0f} s: {named}"
            )
        print(f"{right} of {count} named, and nothing else")


def told(
    name: str,
    loader: tuple[str, dict[str, str]] | None,
    case: Case,
    folder: Path,
    renderer: ReferenceRenderer,
    steps: int,
) -> Comparison:
    """Make the picture of a loader, None as the workflow has it, and return what a comparison says of it."""
    source = Image.open(PICTURE)
    workflow: dict[str, Any] = json.loads(source.info["prompt"])
    for node in workflow.values():
        if loader is not None and node["class_type"] == "UNETLoader":
            node["class_type"], node["inputs"] = loader[0], {**node["inputs"], **loader[1]}
            if node["class_type"] != "UNETLoader":
                node["inputs"].pop("weight_dtype", None)
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = steps
    text, file = PngInfo(), folder / f"{name.partition(',')[0]}_{len(name)}.png"
    text.add_text("prompt", json.dumps(workflow))
    source.save(file, pnginfo=text)
    stated = compare(case, file, static=True).image.settings
    request, problems = image_request(case, request_of(case, RunOptions(), "cpu"), stated)
    assert not problems, problems
    Image.fromarray(renderer.render(request).image).save(file, pnginfo=text)
    return compare(case, file, renderer=renderer)


if __name__ == "__main__":
    main()
