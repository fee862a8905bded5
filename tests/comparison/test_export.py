"""Cases as workflows, scripts and requests of other tools."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.comparison.exports.comfy_editor import editor_graph
from harness.comparison.exports.diffusers_script import diffusers_script
from harness.comparison.exports.export import export_case
from harness.comparison.exports.repair_node import SCALE, SHIFT, Flex2Blanks
from harness.comparison.setting_row import State
from harness.comparison.static_difference import static_difference
from harness.diagnosis.recipe import recipe
from harness.errors import CaseError
from harness.importers.image_metadata.comfyui import read_comfyui
from harness.importers.image_metadata.read_image import InferenceImage, read_inference_image
from harness.importers.inference_request import load_request
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.schema.render import LoraMode
from harness.systems.comfy_graph import Graph, api_graph

Cases = dict[tuple[int, int], Case]


def graph_of(case: Case) -> Graph:
    return api_graph(request_of(case, RunOptions(), "cpu"), "image")


def test_our_own_reader_finds_no_difference_in_an_exported_workflow(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0]
    written = export_case(case, "comfy", tmp_path / "out")
    assert [path.name for path in written] == [
        "workflow.json", "workflow_api.json", "flex2_blanks.py", "README.txt",
    ]  # fmt: skip
    settings = read_comfyui((tmp_path / "out/workflow_api.json").read_text(), None, source="a test")
    assert settings is not None
    assert settings.unknown == []
    rows = static_difference(case, InferenceImage(case.preview_path, "PNG", (128, 128), settings))
    assert [row.setting for row in rows if row.state in {State.DIFFERS, State.UNKNOWN}] == []
    assert {row.setting for row in rows if row.state is State.TOOL} == {
        "schedule", "noise", "lora_mode", "latents", "timestep", "rounding", "kernels",
    }  # fmt: skip


def test_the_editors_links_are_those_of_the_api(cases: Cases) -> None:
    graph = graph_of(cases[0, 0])
    assert all(node["class_type"] != "LoraLoaderModelOnly" for node in graph.values())
    editor = editor_graph(graph, "a note")
    links = {link[0]: link for link in editor["links"]}
    for node in editor["nodes"]:
        for slot, socket in enumerate(node["inputs"]):
            _, source, output, target, at, type_ = links[socket["link"]]
            assert (target, at, type_) == (node["id"], slot, socket["type"])
            assert graph[str(node["id"])]["inputs"][socket["name"]] == [str(source), output]
    assert editor["nodes"][-1]["widgets_values"] == ["a note"]


def test_the_repair_node_gives_zeros_and_ones_after_flextools_normalisation() -> None:
    blank = torch.zeros(1, 33, 4, 4)
    blank[:, 16] = 1
    settings = {"flex2_concat_latent": blank, "guidance": 4.0}
    ((_, made),) = Flex2Blanks().repair([["text", settings]], [["", {}]])[0]
    assert made["guidance"] == 4.0
    normalised = (made["flex2_concat_latent"] - SHIFT) * SCALE
    assert torch.allclose(normalised, blank, atol=1e-6)
    drawn = blank.clone()
    drawn[:, 17:] = torch.randn(1, 16, 4, 4)
    ((_, made),) = Flex2Blanks().repair([["text", {"flex2_concat_latent": drawn}]], [])[0]
    assert torch.equal(made["flex2_concat_latent"][:, 17:], drawn[:, 17:])


def test_the_repair_node_needs_nothing_of_the_harness(cases: Cases, tmp_path: Path) -> None:
    export_case(cases[300, 0], "comfy", tmp_path)
    code = "import sys, flex2_blanks; assert not any('harness' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=tmp_path)


def test_an_exported_request_is_the_case(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 3]
    (file,) = export_case(case, "request", tmp_path / "request.json")
    assert load_request(file)[0].prompts[0].prompt == case.settings.prompt
    image = read_inference_image(case.preview_path, request=[file])
    assert {row.state for row in static_difference(case, image)} == {State.SAME}


def test_an_exported_script_is_whole_and_draws_legacy_noise_itself(cases: Cases) -> None:
    case = cases[300, 0]
    plain = diffusers_script(case)
    compile(plain, "plain.py", "exec")
    assert "harness" not in plain.replace(str(case.folder), "").replace("harness/data", "")
    legacy = case.model_copy(update={"noise": "legacy"})
    script = diffusers_script(legacy)
    functions: dict[str, object] = {}
    head = script[: script.index("# A folder")].replace(
        "from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler", ""
    )
    exec(compile(head, "legacy.py", "exec", dont_inherit=True), functions)
    from harness.pipeline.noise import draw

    own = draw((64,), 42, torch.bfloat16, "legacy")
    assert torch.equal(functions["_legacy"](64, 42, torch.bfloat16), own)  # type: ignore[operator]


def test_a_prompt_with_brackets_is_written_as_comfyui_reads_it(cases: Cases) -> None:
    case = cases[300, 0]
    settings = case.settings.model_copy(update={"prompt": "a (large:1.2) cat"})
    changed = case.model_copy(update={"settings": settings})
    texts = [node["inputs"]["text"] for node in graph_of(changed).values() if "text" in node["inputs"]]
    assert texts[0] == r"a \(large:1.2\) cat"


def test_a_case_that_cannot_be_rerun_is_not_exported(cases: Cases, tmp_path: Path) -> None:
    case = cases[300, 0].model_copy(update={"incomparable": "its seed was random"})
    with pytest.raises(CaseError, match="seed was random"):
        export_case(case, "request", tmp_path / "a.json")
    assert json.loads("[]") == list(tmp_path.iterdir())


def test_a_script_and_a_recipe_cast_all_of_t5_where_the_trainer_did(cases: Cases) -> None:
    trained = cases[300, 0].trained.model_copy(update={"dtype": "fp16"})
    case = cases[300, 0].model_copy(update={"encoder_dtype": "fp16", "trained": trained})
    request = request_of(case, RunOptions(), "cpu")
    for code in (diffusers_script(case), recipe(case, request, "fp16")):
        compile(code, "cast.py", "exec")
        assert code.index("from_pretrained(") < code.index("pipe.text_encoder_2.to(torch.float16)")
    for code in (diffusers_script(cases[300, 0]), recipe(case, replace(request, encoder_dtype=None), "bf16")):
        assert "text_encoder_2.to(" not in code


@pytest.mark.parametrize(
    ("quantize", "call"),
    [
        ("qfloat8", "quantize(pipe.transformer, weights=qfloat8, exclude=['*norm_out*'])"),
        ("uint4", "quantize_part(pipe.transformer, 'uint4', exclude=['*norm_out*'])"),
        ("fp8_scaled", "quantize_part(pipe.transformer, 'fp8_scaled')"),
    ],
)
def test_a_recipe_leaves_out_what_the_job_left_unquantized(cases: Cases, quantize: str, call: str) -> None:
    case = cases[300, 0]
    request = request_of(case, RunOptions(), "cpu")
    changed = replace(request, quantize=quantize, quantize_exclude=("*norm_out*",))
    code = recipe(case, changed, "bf16")
    compile(code, "quantized.py", "exec")
    assert call in code
    assert "pipe.text_encoder_2, exclude" not in code
    alone = recipe(case, replace(changed, quantize_exclude=("!*attn*",)), "bf16")
    assert ("exclude=['!*attn*']" in alone) is (quantize != "fp8_scaled")
    assert "from optimum.quanto" not in alone


def test_a_recipe_unpacks_a_gguf_base_as_the_render_did(cases: Cases) -> None:
    case = cases[300, 0]
    request = replace(request_of(case, RunOptions(), "cpu"), quantize="gguf_q4_k")
    assert "unpacking" not in recipe(case, request, "bf16")
    changed = replace(request, dialect=replace(request.dialect, unpacking="fp32"))
    code = recipe(case, changed, "bf16")
    assert "quantize_part(pipe.transformer, 'gguf_q4_k', unpacking='fp32')" in code
    assert "quantize_part(pipe.text_encoder_2, 'gguf_q4_k')" in code


@pytest.mark.parametrize(
    ("quantize", "mode", "call", "end"),
    [
        ("none", "fp32", "merge_fp32(", "1.0)"),
        ("none", "adapter", "LiveAdapter().attach(", "1.0)"),
        ("none", "peft", "LiveAdapter().attach(", "1.0, pipe.transformer.dtype)"),
        ("gguf_q4_k-transformer", "unpacked", "merge_unpacked(", "1.0)"),
    ],
)
def test_a_recipe_applies_the_lora_as_the_render_did(
    cases: Cases, quantize: str, mode: LoraMode, call: str, end: str
) -> None:
    case = cases[300, 0]
    request = replace(request_of(case, RunOptions(), "cpu"), quantize=quantize, lora_mode=mode)
    code = recipe(case, request, "bf16")
    compile(code, "applied.py", "exec")
    (line,) = (line for line in code.splitlines() if line.startswith(call))
    assert line.endswith(end)
    assert code.find("quantize_part(") < code.index(line)
