"""Write a case for another tool: a ComfyUI workflow, a diffusers script, or a request to the server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from harness._util.atomic_files import write_json, write_text
from harness.comparison.exports import repair_node
from harness.comparison.exports.comfy_editor import editor_graph
from harness.comparison.exports.diffusers_script import diffusers_script
from harness.comparison.exports.kinds import ExportKind
from harness.errors import CaseError
from harness.runs.plan import RunOptions, noise_of, request_of
from harness.schema.case import Case
from harness.systems.comfy_graph import api_graph

REPAIR_FILE = "flex2_blanks.py"
NODES_NEEDED = (
    f"It needs ComfyUI-FlexTools, and {REPAIR_FILE} of this folder in custom_nodes.",
    "Without its node Flex2 Blanks the picture is another drawing in details (16 to 20 dB on the demo's "
    "previews).",
)


def export_case(case: Case, kind: ExportKind, out: str | os.PathLike[str]) -> list[Path]:
    """Write ``case`` so that another tool renders it as near as it can.

    Args:
        kind: ``comfy`` writes a folder: ``workflow.json`` for the editor, ``workflow_api.json``, the node
            that repairs FlexTools' blanks, and what will still differ; the others write a file.

    Returns:
        What was written.

    Raises:
        CaseError: the case says that its preview cannot be re-run.
    """
    out = Path(out)
    if case.incomparable is not None:
        raise CaseError(f"{case.id} cannot be re-run: {case.incomparable}", fix="export another case")
    if kind == "diffusers":
        write_text(out, diffusers_script(case))
        return [out]
    if kind == "request":
        write_json(out, request_body(case))
        return [out]
    return _comfy(case, out)


def request_body(case: Case) -> dict[str, Any]:
    """Return the body of the reference server's ``POST /v1/inference``, with the LoRA's file name alone."""
    settings = case.settings
    loras = []
    if case.lora is not None:
        name = case.lora.file.rpartition("/")[2]
        loras = [{"path": name, "network_multiplier": case.lora.network_multiplier}]
    return {"model": case.model, "loras": loras, "prompts": [settings.model_dump()]}


def what_differs(case: Case) -> str:
    """Say in words what ComfyUI does otherwise with every value set, as the exported workflow has them."""
    lines = [
        f"This workflow renders {case.id} as near as ComfyUI can.",
        *(NODES_NEEDED if case.spec.has_conditions else ()),
        "What still differs: latents and timesteps are not rounded to bf16, the LoRA is merged in fp32, and "
        "pixels are truncated to 8 bits. On the demo's previews that is 38 to 39 dB, a re-run 39 to 41 dB.",
        "Put your own file names into the loaders. fp8 weights differ more.",
    ]
    if noise_of(case) == "legacy":
        lines.append("The preview's noise is of torch 2.11 or older: no seed of ComfyUI gives this picture.")
    return "\n".join(lines)


def _comfy(case: Case, out: Path) -> list[Path]:
    request, name = request_of(case, RunOptions(), "cuda"), case.name
    graph, note = api_graph(request, name), what_differs(case)
    files = {
        "workflow.json": json.dumps(editor_graph(graph, note), indent=1, ensure_ascii=False) + "\n",
        "workflow_api.json": json.dumps(graph, indent=1, ensure_ascii=False) + "\n",
    }
    install = ""
    if case.spec.has_conditions:
        files[REPAIR_FILE] = Path(repair_node.__file__).read_text(encoding="utf-8")
        install = f"Install the node: cp {REPAIR_FILE} COMFYUI/custom_nodes/\n"
    files["README.txt"] = f"{note}\n{install}"
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(out / name, text)
    return [out / name for name in files]
