"""ComfyUI's graph, followed back from the picture: what decides, and what is only named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.importers.image_metadata.comfyui import read_comfyui
from tests.importers.comfy_graphs import PLAIN, graph, node, read


def loras(nodes: dict[str, Any]) -> list[tuple[str, float | None]] | None:
    found = read(nodes).loras
    return None if found is None else [(each.name, each.strength) for each in found]


def test_a_flux_guidance_behind_the_conditioner_wins_and_one_before_it_does_not() -> None:
    before = graph(n20=node("FluxGuidance", guidance=2.0, conditioning=["4", 0]), n6={"positive": ["20", 0]})
    behind = graph(n20=node("FluxGuidance", guidance=2.0, conditioning=["6", 1]), n7={"positive": ["20", 0]})
    assert read(before).value("guidance_scale") == 4.0
    assert read(behind).value("guidance_scale") == 2.0


def test_without_a_node_for_it_guidance_is_the_tools_default() -> None:
    bare = graph(n7={"positive": ["4", 0], "latent_image": ["5", 0], "model": ["3", 0]})
    found = read(bare)
    assert found.stated["guidance_scale"].value == 3.5
    assert found.stated["guidance_scale"].default
    assert found.value("blanks") == "none"


def test_a_bypassed_guidance_embedder_is_named_and_no_number_is_read() -> None:
    found = read(graph(n6={"bypass_guidance_embedder": "yes"}))
    assert "guidance_scale" not in found.stated
    assert "bypasses the guidance embedder" in found.unknown[0]


def test_stacked_loaders_come_in_the_order_of_their_use() -> None:
    chained = graph(
        n20=node(
            "LoraLoader", lora_name="b/c.safetensors", strength_model=0.5, model=["3", 0], clip=["2", 0]
        ),
        n6={"model": ["20", 0]},
    )
    assert loras(chained) == [("a.safetensors", 1.0), ("b/c.safetensors", 0.5)]


def test_a_lora_of_strength_0_is_off() -> None:
    found = read(graph(n3={"strength_model": 0}))
    assert found.loras == []
    assert "strength 0" in found.loras_off[0]


LOW = {
    ("UNETLoader", "flex2", "fp8_e4m3fn"): ("fp8_e4m3fn-transformer", "stochastic"),
    ("UNETLoader", "flex2", "fp8_e4m3fn_fast"): ("fp8_e4m3fn-transformer", "stochastic"),
    ("UNETLoader", "flex2", "fp8_e5m2"): ("fp8_e5m2-transformer", "stochastic"),
    ("UNETLoader", "flex.2_fp8_scaled.safetensors", "default"): ("fp8_scaled-transformer", "stochastic"),
    ("UnetLoaderGGUF", "a/Flex.2-preview-Q8_0.gguf", None): ("gguf_q8_0-transformer", "unpacked"),
    ("UnetLoaderGGUF", "flex2_Q4_K_M.gguf", None): ("gguf_q4_k_m-transformer", "unpacked"),
    ("UnetLoaderGGUF", "flex2-Q5_K_S.gguf", None): ("gguf_q5_k-transformer", "unpacked"),
    ("UnetLoaderGGUF", "flex2-Q3_K_L.gguf", None): ("gguf_q3_k_m-transformer", "unpacked"),
    ("UnetLoaderGGUF", "flex2-Q6_K.gguf", None): ("gguf_q6_k-transformer", "unpacked"),
    ("UnetLoaderGGUF", "flex2-F16.gguf", None): (None, None),
    ("UNETLoader", "flex2", "default"): (None, None),
}


@pytest.mark.parametrize(("loader", "wanted"), LOW.items())
def test_a_base_in_few_bits_is_read_with_its_way_of_applying_a_lora(
    loader: tuple[str, str, str | None], wanted: tuple[str | None, str | None]
) -> None:
    kind, file, dtype = loader
    inputs = {"unet_name": file} | ({} if dtype is None else {"weight_dtype": dtype})
    found = read(graph(n1=node(kind, **inputs)))
    assert (found.value("quantize"), found.value("lora_mode")) == wanted
    assert found.value("dtype") is None


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("default", None), ("float32", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16"), ("target", "bf16")],
)
def test_the_dtype_that_a_gguf_is_unpacked_in_is_read(dtype: str, wanted: str | None) -> None:
    inputs = {"unet_name": "flex2-Q8_0.gguf", "dequant_dtype": dtype, "patch_dtype": "default"}
    found = read(graph(n1=node("UnetLoaderGGUFAdvanced", **inputs)))
    assert found.value("unpacking") == wanted
    assert found.value("quantize") == "gguf_q8_0-transformer"
    assert not found.unknown


def test_other_dtypes_of_a_gguf_loader_are_named() -> None:
    inputs = {"unet_name": "flex2-Q8_0.gguf", "dequant_dtype": "int7", "patch_dtype": "float16"}
    found = read(graph(n1=node("UnetLoaderGGUFAdvanced", **inputs)))
    assert found.unknown == [
        "node 1 UnetLoaderGGUFAdvanced, dequant_dtype int7",
        "node 1 UnetLoaderGGUFAdvanced, patch_dtype float16: LoRAs are multiplied in fp32 here",
    ]


ENCODERS = {
    ("clip_l.safetensors", "t5xxl_fp16.safetensors"): None,
    ("clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"): "fp8_e4m3fn-te",
    ("t5xxl_fp8_e4m3fn_scaled.safetensors", "clip_l.safetensors"): "fp8_scaled-te",
    ("clip_l.safetensors", "a/t5-v1_1-xxl-encoder-Q8_0.gguf"): "gguf_q8_0-te",
    ("clip_l.safetensors", "t5-v1_1-xxl-encoder-Q5_K_M.gguf"): "gguf_q5_k-te",
}


@pytest.mark.parametrize(("files", "wanted"), ENCODERS.items())
def test_t5_in_few_bits_is_read_from_its_file(files: tuple[str, str], wanted: str | None) -> None:
    found = read(graph(n2={"clip_name1": files[0], "clip_name2": files[1]}))
    assert found.value("quantize") == wanted
    assert "quantize_te" not in found.stated


def test_t5_and_base_in_the_same_bits_are_one_setting_and_in_others_are_said() -> None:
    t5 = {"clip_name2": "t5xxl_fp8_e4m3fn.safetensors"}
    both = read(graph(n1={"weight_dtype": "fp8_e4m3fn"}, n2=t5))
    assert both.value("quantize") == "fp8_e4m3fn"
    mixed = read(graph(n1={"weight_dtype": "fp8_e5m2"}, n2=t5))
    assert mixed.value("quantize") == "fp8_e5m2-transformer"
    assert any(what.startswith("T5 in fp8_e4m3fn (node 2 DualCLIPLoader") for what in mixed.unknown)
    base, t5 = node("UnetLoaderGGUF", unet_name="flex2-Q4_K_M.gguf"), {"clip_name2": "t5-Q4_K_S.gguf"}
    assert read(graph(n1=base, n2=t5)).value("quantize") == "gguf_q4_k_m"


def test_what_the_text_encoder_goes_through_is_named_and_tokens_are_read_behind_it() -> None:
    skip = node("CLIPSetLastLayer", clip=["21", 0], stop_at_clip_layer=-2)
    options = node("T5TokenizerOptions", clip=["2", 0], min_padding=0, min_length=512)
    found = read(graph(n4={"clip": ["20", 0]}, n20=skip, n21=options))
    assert found.unknown == ["node 20 CLIPSetLastLayer, which the text encoder goes through"]
    assert found.value("max_sequence_length") == 512
    assert read(graph(n2={"type": "sd3"})).unknown == ["node 2 DualCLIPLoader, type sd3"]


def test_a_lora_loader_that_hands_on_the_text_encoder_is_no_riddle() -> None:
    lora = node("LoraLoader", model=["1", 0], clip=["2", 0], lora_name="a", strength_model=0.8)
    found = read(graph(n3=lora, n4={"clip": ["3", 1]}))
    assert found.unknown == []
    assert found.loras is not None
    assert found.loras[0].strength_place == "node 3 LoraLoader, strength_model"


STACKS = {
    "Power Lora Loader (rgthree)": {
        "lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.7},
        "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1.0},
        "PowerLoraLoaderHeaderWidget": {"type": "PowerLoraLoaderHeaderWidget"},
    },
    "Lora Loader Stack (rgthree)": {
        "lora_01": "a.safetensors", "strength_01": 0.7, "lora_02": "None", "strength_02": 1.0,
    },
    "LoraTagLoader": {"text": "a <lora:a.safetensors:0.7> b"},
}  # fmt: skip


@pytest.mark.parametrize("kind", STACKS)
def test_loaders_of_several_loras_are_read(kind: str) -> None:
    assert loras(graph(n3=node(kind, model=["1", 0], **STACKS[kind]))) == [("a.safetensors", 0.7)]


@pytest.mark.parametrize(
    "stack",
    [
        node("CR LoRA Stack", switch_1="On", lora_name_1="a.safetensors", model_weight_1=0.7,
             switch_2="Off", lora_name_2="b.safetensors", model_weight_2=1.0),
        node("LoRA Stacker", input_mode="simple", lora_count=1, lora_name_1="a.safetensors", lora_wt_1=0.7,
             lora_name_2="b.safetensors", lora_wt_2=1.0),
    ],
    ids=["comfyroll", "efficiency"],
)  # fmt: skip
def test_stacks_that_another_node_applies_are_read(stack: dict[str, Any]) -> None:
    apply = node("CR Apply LoRA Stack", model=["1", 0], lora_stack=["20", 0])
    assert loras(graph(n3=apply, n20=stack)) == [("a.safetensors", 0.7)]


def test_an_unknown_node_of_the_model_is_named_and_the_loras_are_not_guessed() -> None:
    found = read(graph(n3=node("MyMergeLoras", model=["1", 0], lora="x.safetensors")))
    assert found.unknown == ["node 3 MyMergeLoras, which the model goes through"]
    assert found.loras is None


def test_an_unknown_sampler_is_named_and_no_number_of_it_is_read() -> None:
    found = read(graph(n7=node("MySampler", seed=3, steps=9, model=["6", 0])))
    assert found.unknown[0].startswith("node 7 MySampler")
    assert "seed" not in found.stated


def test_a_seed_of_an_unknown_node_is_named_and_not_guessed() -> None:
    found = read(graph(n20=node("RandomThing", seed=3), n7={"seed": ["20", 0]}))
    assert "seed" not in found.stated
    assert found.unknown == ["node 20 RandomThing, from which a value comes"]


def test_a_prompt_is_read_through_links_that_join_texts() -> None:
    joined = graph(
        n20=node("PrimitiveString", value="a cat"),
        n21=node("StringConcatenate", string_a=["20", 0], string_b="on a sofa", delimiter=" "),
        n22=node("Reroute", **{"": ["21", 0]}),
        n4={"text": ["22", 0]},
    )
    assert read(joined).value("prompt") == "a cat on a sofa"


def test_the_shift_of_the_sigmas_comes_from_the_model_of_the_scheduler() -> None:
    nodes = graph(
        n7=node("SamplerCustomAdvanced", noise=["20", 0], guider=["21", 0], sampler=["22", 0],
                sigmas=["23", 0], latent_image=["5", 0]),
        n20=node("RandomNoise", noise_seed=7),
        n21=node("BasicGuider", model=["24", 0], conditioning=["6", 1]),
        n22=node("KSamplerSelect", sampler_name="euler"),
        n23=node("BasicScheduler", scheduler="beta", steps=20, denoise=1.0, model=["6", 0]),
        n24=node("ModelSamplingFlux", max_shift=1.15, base_shift=0.5, width=512, height=512, model=["6", 0]),
    )  # fmt: skip
    found = read(nodes)
    assert (found.value("seed"), found.value("schedule"), found.value("sample_steps")) == (7, "beta", 20)
    assert found.stated["mu"].default
    nodes["23"]["inputs"]["model"] = ["24", 0]
    assert read(nodes).value("mu") == pytest.approx(0.63, abs=1e-3)


def test_of_several_nodes_that_save_the_one_whose_prefix_the_file_has_is_followed() -> None:
    other = graph(
        n7={"seed": 1},
        n20={"class_type": "KSampler", "inputs": {**PLAIN["7"]["inputs"], "seed": 2}},
        n21=node("VAEDecode", samples=["20", 0]),
        n22=node("SaveImage", filename_prefix="sub/other", images=["21", 0]),
    )
    assert read(other, file_name="other_00001_.png").value("seed") == 2
    assert read(other, file_name="out_00001_.png").value("seed") == 1


def test_a_picture_that_was_changed_afterwards_says_so() -> None:
    upscaled = graph(n20=node("ImageUpscaleWithModel", image=["8", 0]), n9={"images": ["20", 0]})
    found = read(upscaled)
    assert found.unknown == ["node 20 ImageUpscaleWithModel, which the picture goes through"]
    assert found.value("seed") == 1


def test_a_control_image_is_named() -> None:
    found = read(graph(n20=node("LoadImage", image="a.png"), n6={"control_image": ["20", 0]}))
    assert "control_image" in found.unknown[0]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (
            "RCFlex2",
            {"sample_steps": 20, "guidance_scale": 3.0, "lora_path": "x/a.safetensors", "lora_scale": 0.8},
        ),
        ("RCAITKGenerate", {"steps": 20, "cfg": 3.0, "pipe": ["21", 0]}),
    ],
)
def test_nodes_that_run_the_reference_pipeline_are_read_as_such(kind: str, inputs: dict[str, Any]) -> None:
    nodes = graph(
        n20=node(kind, prompt="a cat", negative_prompt="", width=512, height=512, seed=5, **inputs),
        n21=node("RCAITKLoadPipeline", pipeline="flex2", lora=["22", 0]),
        n22=node("RCAITKLoRA", lora_name="x/a.safetensors", lora_path_or_url="", lora_scale=0.8),
        n9={"images": ["20", 0]},
    )
    found = read(nodes)
    assert found.tool == "reference-server"
    assert (found.value("sample_steps"), found.value("guidance_scale"), found.value("seed")) == (20, 3.0, 5)
    assert loras(nodes) == [("x/a.safetensors", 0.8)]


@pytest.mark.parametrize("field", ["model", "positive", "latent"])
def test_a_cycle_ends_and_is_said(field: str) -> None:
    found = read(graph(n6={field: ["6", 0]}))
    assert any("leads nowhere" in each or "latents" in each for each in found.unknown)


def test_texts_that_double_at_every_join_end() -> None:
    doubling = {
        str(100 + place): node(
            "StringConcatenate", string_a=[str(101 + place), 0], string_b=[str(101 + place), 0]
        )
        for place in range(200)
    }
    nodes = {**graph(n4={"text": ["100", 0]}), **doubling, "300": node("PrimitiveString", value="x" * 1000)}
    assert read(nodes).value("prompt") is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"1": 3}', "[" * 100_000, '{"a":' * 5000, "NaN"])
def test_what_is_no_graph_is_none(text: str) -> None:
    assert read_comfyui(text, None, source="a test") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(sorted({name for each in PLAIN.values() for name in each["inputs"]}))
links = st.tuples(st.sampled_from(list(PLAIN)), st.integers(0, 3)).map(list)


@given(
    st.dictionaries(st.sampled_from(list(PLAIN)), st.dictionaries(fields, json_values | links, max_size=3))
)
def test_any_change_of_inputs_gives_settings(changes: dict[str, dict[str, Any]]) -> None:
    nodes = graph(**{f"n{key}": change for key, change in changes.items() if "class_type" not in change})
    read_comfyui(json.dumps(nodes), json.dumps(changes), source="a test", file_name="out_1.png")


def test_a_value_behind_links_is_placed_where_it_stands() -> None:
    nodes = graph(
        n7={"seed": ["20", 0], "steps": ["21", 0], "cfg": ["23", 0]},
        n20=node("Seed (rgthree)", seed=7),
        n21=node("Reroute", value=["22", 0]),
        n22=node("PrimitiveInt", value=30),
        n23=node("Mystery", value=1.0),
        n3={"strength_model": ["24", 0]},
        n24=node("PrimitiveFloat", value=0.5),
        n4={"text": ["25", 0]},
        n25=node("StringConcatenate", string_a="a", string_b=["26", 0], delimiter=" "),
        n26=node("CR Text", text="dog"),
    )
    settings = read(nodes)
    places = {name: settings.stated[name].place for name in ("seed", "sample_steps", "prompt")}
    assert places == {
        "seed": "node 20 Seed (rgthree), seed",
        "sample_steps": "node 22 PrimitiveInt, value",
        "prompt": "node 4 CLIPTextEncode, text",  # joined of several
    }
    assert settings.value("prompt") == "a dog"
    assert settings.loras is not None
    assert settings.loras[0].strength_place == "node 24 PrimitiveFloat, value"
