"""The reference pipeline on the tiny checkpoint: what it renders and what it says it rendered."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

import harness.pipeline.renderer
from harness._util.atomic_files import sha256_file
from harness.errors import CheckpointError, DeviceError, RenderError
from harness.pipeline import flex2 as builtin
from harness.pipeline.bf16_products import has_bf16_kernels
from harness.pipeline.checkpoint import Checkpoint
from harness.pipeline.inference import _without_gradients
from harness.pipeline.load import LoadedPipeline, load_pipeline
from harness.pipeline.renderer import ReferenceRenderer
from harness.precision.quanto_kernels import build_line
from harness.schema.base import Base
from harness.schema.render import Lora, Render, RenderRequest
from harness.schema.spec import FLEX2

Make = Callable[..., RenderRequest]


def test_hub_code_and_builtin_give_the_same_bits(
    renderer: ReferenceRenderer, request_for: Make, hub_folder: Path
) -> None:
    base = Base(path=str(hub_folder))
    for changes in ({"sample_steps": 4}, {"width": 96, "height": 160, "guidance_scale": 2.5}, {"lora": 300}):
        hub = renderer.render(request_for(**changes, base=base, pipeline="hub"))
        ours = renderer.render(request_for(**changes, base=base, pipeline="builtin"))
        assert np.array_equal(hub.image, ours.image)
        assert hub.latents_sha256 == ours.latents_sha256
        assert hub.rendered.pipeline_sha256 == sha256_file(hub_folder / "pipeline.py")
        assert ours.rendered.pipeline_sha256 == sha256_file(Path(builtin.__file__))


def test_any_class_name_in_the_index_loads(
    renderer: ReferenceRenderer, request_for: Make, hub_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(hub_folder, tmp_path / "renamed")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "Flex2Pipeline"}))
    reference = renderer.render(request_for(base=Base(path=str(hub_folder)), pipeline="hub"))
    renamed = renderer.render(request_for(base=Base(path=str(folder)), pipeline="hub"))
    assert np.array_equal(reference.image, renamed.image)


def test_two_bases_in_turn_are_loaded_once_each(
    request_for: Make, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(checkpoint: Checkpoint, *arguments: Any, **more: Any) -> LoadedPipeline:
        loaded.append(checkpoint.name)
        return load_pipeline(checkpoint, *arguments, **more)

    monkeypatch.setattr(harness.pipeline.renderer, "load_pipeline", counted)
    renderer = ReferenceRenderer(device="cpu", engine="eager")
    turn = [request_for(), request_for(base=Base(path=str(hub_folder)))] * 2
    images = [renderer.render(request).image for request in turn]
    assert np.array_equal(images[0], images[2])
    assert len(loaded) == 2


@pytest.mark.parametrize("noise", ["current", "legacy"])
def test_the_first_of_a_batch_is_the_same_picture(
    renderer: ReferenceRenderer, request_for: Make, noise: str
) -> None:
    """Its seed draws the same noise in a batch; another seed is another picture."""
    alone = renderer.render(request_for(noise=noise))
    first = renderer.render(request_for(noise=noise, batch=2))
    other = renderer.render(request_for(noise=noise, seed=6))
    assert (alone.rendered.batch, first.rendered.batch) == (1, 2)
    assert _rms(alone, first) < (0.1 if has_bf16_kernels() else 0.2) * _rms(alone, other)


def test_the_latents_hash_is_of_what_is_decoded(
    renderer: ReferenceRenderer, request_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = renderer.render(request_for())
    assert renderer.render(request_for()).latents_sha256 == plain.latents_sha256
    assert renderer.render(request_for(guidance_scale=5.0)).latents_sha256 != plain.latents_sha256
    decode = AutoencoderKL.decode
    monkeypatch.setattr(AutoencoderKL, "decode", lambda *args, **more: (decode(*args, **more)[0] * 0.5,))
    darker = renderer.render(request_for())
    assert darker.latents_sha256 == plain.latents_sha256
    assert not np.array_equal(darker.image, plain.image)


def _rms(one: Render, other: Render) -> float:
    return float(np.sqrt(np.mean((one.image.astype(float) - other.image) ** 2)))


def test_the_row_says_what_was_rendered(renderer: ReferenceRenderer, request_for: Make) -> None:
    rendered = renderer.render(request_for(width=70, height=100, lora=200, multiplier=0.7)).rendered
    assert (rendered.width, rendered.height) == (64, 96)
    assert (rendered.dtype, rendered.device, rendered.offload) == ("bf16", "cpu", "none")
    assert (rendered.lora_mode, rendered.network_multiplier) == ("fused", 0.7)
    assert rendered.base == "embedded:tiny-flex2-emoji"
    scheduler = FlowMatchEulerDiscreteScheduler(**FLEX2.scheduler)
    mu = 0.5 + (1.15 - 0.5) * (4 * 6 - 256) / (4096 - 256)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 3, 3), mu=mu)
    assert rendered.sigmas_sha256 == hashlib.sha256(np.asarray(scheduler.sigmas).tobytes()).hexdigest()
    assert rendered.sigmas == pytest.approx(np.asarray(scheduler.sigmas).tolist(), abs=1e-6)


def test_a_prompt_that_is_cut_off_is_not_printed(
    renderer: ReferenceRenderer, request_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers prints all that it cuts off, which in a long prompt is more than everything else."""
    said: list[str] = []
    for name in ("diffusers", "transformers"):
        handler = logging.Handler()
        monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    renderer.render(request_for(prompt="a cat " * 600, sample_steps=1))
    assert said == []


def test_the_negative_prompt_changes_nothing_and_the_prompt_does(
    renderer: ReferenceRenderer, request_for: Make
) -> None:
    plain = renderer.render(request_for()).image
    assert np.array_equal(plain, renderer.render(request_for(neg="blurry, low quality")).image)
    assert not np.array_equal(plain, renderer.render(request_for(prompt="a red flower")).image)


def test_every_step_is_reported(renderer: ReferenceRenderer, request_for: Make) -> None:
    seen: list[tuple[int, int]] = []
    renderer.render(request_for(), on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_fp32_on_the_cpu_is_the_reference_rule(request_for: Make) -> None:
    rendered = ReferenceRenderer(device="cpu", engine="eager").render(request_for(dtype=None)).rendered
    assert rendered.dtype == "fp32"


def test_hub_code_needs_trust(request_for: Make, hub_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pipeline\.py: is its author's code .* --trust-remote-code"):
        ReferenceRenderer(device="cpu").render(request_for(base=Base(path=str(hub_folder)), pipeline="hub"))


def test_hub_code_must_exist(renderer: ReferenceRenderer, request_for: Make, tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no pipeline\.py"):
        renderer.render(request_for(base=Base(path=str(tiny)), pipeline="hub"))


def test_a_failing_pipeline_is_a_render_error(renderer: ReferenceRenderer, request_for: Make) -> None:
    with pytest.raises(RenderError, match="the pipeline failed") as caught:
        renderer.render(request_for(sample_steps=0))
    assert caught.value.exit_code == 3


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU")
def test_cuda_asked_for_and_absent() -> None:
    with pytest.raises(DeviceError, match="cuda was asked for"):
        ReferenceRenderer(device="cuda")


@pytest.mark.parametrize("quantize", ["none", "qint8", "qint4", "qint2-te"])
def test_quantos_small_integers_are_kept_out_of_inference_mode(request_for: Make, quantize: str) -> None:
    """Its weights of fewer than 8 bits cannot be multiplied there, by its issue 304."""
    with _without_gradients(request_for(quantize=quantize)):
        assert torch.is_inference_mode_enabled() == (quantize in {"none", "qint8"})
        assert not torch.is_grad_enabled()


def test_a_base_of_4_bits_renders_once_quanto_has_compiled(
    renderer: ReferenceRenderer, request_for: Make
) -> None:
    extension = pytest.importorskip("optimum.quanto.library.extensions.extension").get_extension("quanto_cpp")
    if build_line("quanto_cpp", Path(extension.build_directory)) is not None:
        pytest.skip("optimum-quanto would compile for a minute")
    plain, made = (renderer.render(request_for(quantize=name)) for name in ("none", "qint4"))
    assert np.ptp(made.image) > 0
    assert not np.array_equal(plain.image, made.image)


def test_k_quants_render_and_take_a_lora_in_every_way(
    renderer: ReferenceRenderer, quick_request: Make, jobs: dict[str, Path]
) -> None:
    """On the checkpoint that has rows of 512: none of the other's is whole blocks."""

    def render(quantize: str, **changes: Any) -> Render:
        return renderer.render(quick_request(base=Base(embedded="tiny-flex2"), quantize=quantize, **changes))

    plain = render("none")
    apart = [_rms(plain, render(f"gguf_{kind}-transformer")) for kind in ("q6_k", "q4_k_m", "q2_k")]
    assert 0 < apart[0] < apart[1] < apart[2]
    file = max(jobs["simple"].glob("*.safetensors"))
    lora = Lora(file, sha256_file(file), 1.0)
    modes = ("none", "adapter", "peft", "fp32", "merged", "unpacked")
    images = {mode: render("gguf_q4_k-transformer", lora=lora, lora_mode=mode).image for mode in modes}
    assert len({image.tobytes() for image in images.values()}) >= 5
