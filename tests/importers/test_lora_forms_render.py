"""LoRA files of other tools, rendered: every way of applying one sees the same modules at the same scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from harness._util.atomic_files import sha256_file
from harness.errors import LoraError
from harness.pipeline.lora_adapter import lora_factors
from harness.pipeline.lora_weights import read_weights
from harness.pipeline.renderer import ReferenceRenderer
from harness.precision.audit import audit
from harness.precision.lora_delta import lora_deltas
from harness.schema.lora_file import inspect_lora
from harness.schema.render import Lora, LoraMode, RenderRequest
from tests.importers.lora_files import alphas, rewrite, to_comfyui, to_down_up, to_kohya

Make = Callable[..., RenderRequest]
Write = Callable[[Path, Path], Path]
MODES: tuple[LoraMode, ...] = ("fused", "fp32", "adapter")


def comfyui_down(key: str) -> str | None:
    return (name := to_comfyui(key)) and to_down_up(name)


def to_old_down_up(key: str) -> str:
    return to_down_up(key).replace(".lora_", ".lora.")


def in_header(source: Path, out: Path, alpha: float, rslora: bool = False) -> Path:
    modules = list(inspect_lora(source).modules)
    config = {"r": 8, "lora_alpha": alpha, "use_rslora": rslora, "target_modules": modules}
    entries = {f"transformer.{key}": value for key, value in config.items()}
    return rewrite(source, out, metadata={"lora_adapter_metadata": json.dumps(entries)})


FORMS: dict[str, tuple[Write, float]] = {
    "plain": (rewrite, 1.0),
    "down and up": (lambda source, out: rewrite(source, out, rename=to_down_up), 1.0),
    "down and up of old": (lambda source, out: rewrite(source, out, rename=to_old_down_up), 1.0),
    "alpha": (lambda source, out: rewrite(source, out, extra=alphas(source, 4, str)), 0.5),
    "alpha with down": (
        lambda source, out: rewrite(source, out, rename=to_down_up, extra=alphas(source, 4, to_down_up)),
        1.0,
    ),
    "header": (lambda source, out: in_header(source, out, 4), 0.5),
    "header of 1": (lambda source, out: in_header(source, out, 8), 1.0),
    "rank-stabilised": (lambda source, out: in_header(source, out, 4, rslora=True), 2**0.5),
}
"""Files with all modules of the shipped LoRA, and the scale that diffusers applies them at."""

PARTIAL: dict[str, Write] = {
    "kohya": lambda source, out: rewrite(source, out, rename=to_kohya, extra=alphas(source, 4, to_kohya)),
    "kohya, no alpha": lambda source, out: rewrite(source, out, rename=to_kohya),
    "comfyui": lambda source, out: rewrite(source, out, rename=comfyui_down),
}
"""Files with the modules that kohya's form names one by one."""


@pytest.fixture(scope="module")
def render(renderer: ReferenceRenderer, quick_request: Make) -> Callable[..., NDArray[np.uint8]]:
    def make(path: Path, mode: LoraMode = "fused", multiplier: float = 1.0) -> NDArray[np.uint8]:
        lora = Lora(path, sha256_file(path), multiplier)
        return renderer.render(quick_request(lora=lora, lora_mode=mode, sample_steps=2)).image

    return make


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the root mean square of the difference, in levels of 255."""
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("name", FORMS)
def test_every_mode_applies_the_file_at_diffusers_scale(
    name: str, jobs: dict[str, Path], tmp_path: Path, render: Callable[..., NDArray[np.uint8]]
) -> None:
    plain = jobs["inkprint"] / "emoji_inkprint.safetensors"
    write, scale = FORMS[name]
    path = write(plain, tmp_path / "lora.safetensors")
    far = distance(render(plain, multiplier=1.0), render(plain, multiplier=0.5))
    for mode in MODES:
        assert distance(render(path, mode), render(plain, mode, scale)) < far / 20


@pytest.mark.parametrize("name", PARTIAL)
def test_every_mode_applies_the_modules_that_are_converted(
    name: str, jobs: dict[str, Path], tmp_path: Path, render: Callable[..., NDArray[np.uint8]]
) -> None:
    plain = jobs["inkprint"] / "emoji_inkprint.safetensors"
    path = PARTIAL[name](plain, tmp_path / "lora.safetensors")
    same = rewrite(plain, tmp_path / "same.safetensors", rename=lambda key: to_kohya(key) and key)
    assert inspect_lora(path).modules == inspect_lora(same).modules
    multiplier = 0.5 if name == "kohya" else 1.0
    far = distance(render(same, multiplier=1.0), render(same, multiplier=0.5))
    for mode in MODES:
        assert distance(render(path, mode), render(same, mode, multiplier)) < far / 20


@pytest.mark.parametrize("form", [*FORMS, *PARTIAL])
def test_an_audit_reads_the_change_that_diffusers_applies(
    form: str, jobs: dict[str, Path], tmp_path: Path
) -> None:
    """Read by rows without diffusers, and as its own loader has it, at the file's own scale."""
    source = max(jobs["inkprint"].glob("*.safetensors"))
    write = FORMS[form][0] if form in FORMS else PARTIAL[form]
    lora = inspect_lora(write(source, tmp_path / "lora.safetensors"))
    wanted = lora_factors(lora, torch.device("cpu"))
    found = {delta.module: delta for delta in lora_deltas(lora, 0.5)}
    assert found.keys() == wanted.keys()
    for module, (a, b) in wanted.items():
        own_a, own_b = (each.float() for each in found[module].factors())
        torch.testing.assert_close(found[module].scale * (own_b @ own_a), 0.5 * (b @ a))


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=CUDA)])
def pipelines(
    request: pytest.FixtureRequest, quick_request: Make
) -> tuple[ReferenceRenderer, DiffusionPipeline]:
    """A renderer, and the pipeline of another one, without a LoRA."""
    renderer, other = (ReferenceRenderer(device=request.param, engine="eager") for _ in range(2))
    other._prepare(quick_request())
    assert other._state is not None
    return renderer, other._state.loaded.pipe


@pytest.mark.parametrize("form", [*FORMS, *PARTIAL])
def test_weights_that_are_read_fuse_to_the_bits_of_the_file(
    form: str,
    jobs: dict[str, Path],
    tmp_path: Path,
    quick_request: Make,
    pipelines: tuple[ReferenceRenderer, DiffusionPipeline],
) -> None:
    renderer, bare = pipelines
    write = FORMS[form][0] if form in FORMS else PARTIAL[form]
    path = write(jobs["inkprint"] / "emoji_inkprint.safetensors", tmp_path / "lora.safetensors")
    renderer._prepare(quick_request(lora=Lora(path, sha256_file(path), 0.7)))
    assert renderer._state is not None
    ours = dict(renderer._state.loaded.pipe.transformer.named_parameters())
    before = {name: weight.clone() for name, weight in bare.transformer.named_parameters()}
    bare.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="lora")
    bare.fuse_lora(adapter_names=["lora"], lora_scale=0.7)
    bare.unload_lora_weights()
    theirs = dict(bare.transformer.named_parameters())
    assert theirs.keys() == ours.keys()
    assert any(not torch.equal(weight, before[name]) for name, weight in theirs.items())
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    for name, weight in theirs.items():
        weight.data.copy_(before[name])


@pytest.mark.parametrize("form", [*FORMS, *PARTIAL])
def test_weights_are_read_as_safetensors_has_them(form: str, jobs: dict[str, Path], tmp_path: Path) -> None:
    write = FORMS[form][0] if form in FORMS else PARTIAL[form]
    path = write(jobs["inkprint"] / "emoji_inkprint.safetensors", tmp_path / "lora.safetensors")
    ours, theirs = read_weights(inspect_lora(path), "cpu"), load_file(path)
    assert list(ours) == list(theirs)
    for key, tensor in theirs.items():
        assert (ours[key].dtype, ours[key].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(ours[key], tensor)


def test_weights_of_several_pieces(jobs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.pipeline.lora_weights.PIECE", 1000)
    path = jobs["inkprint"] / "emoji_inkprint.safetensors"
    ours, theirs = read_weights(inspect_lora(path), "cpu"), load_file(path)
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


def test_a_file_that_became_shorter(jobs: dict[str, Path], tmp_path: Path) -> None:
    path = rewrite(jobs["inkprint"] / "emoji_inkprint.safetensors", tmp_path / "lora.safetensors")
    lora = inspect_lora(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LoraError, match="became shorter while it was read"):
        read_weights(lora, "cpu")


def in_float8(source: Path, out: Path) -> Path:
    """Write the weights, and no alpha, in float8, as ``save.dtype: float8`` does."""
    weights = load_file(source)
    small = {key: w if "alpha" in key else w.to(torch.float8_e4m3fn) for key, w in weights.items()}
    save_file(small, out, dict(inspect_lora(source).metadata))
    return out


def test_float8_is_what_its_numbers_are_in_bf16(
    jobs: dict[str, Path], tmp_path: Path, render: Callable[..., NDArray[np.uint8]]
) -> None:
    small = in_float8(max(jobs["inkprint"].glob("*.safetensors")), tmp_path / "small.safetensors")
    wide = {key: weight.bfloat16() for key, weight in load_file(small).items()}
    save_file(wide, tmp_path / "wide.safetensors", dict(inspect_lora(small).metadata))
    assert inspect_lora(small).notes[-1].startswith("the LoRA is saved in float8, rounded from the weights")
    assert np.array_equal(render(small), render(tmp_path / "wide.safetensors"))
    a, b = (
        lora_factors(inspect_lora(path), torch.device("cpu"))
        for path in (small, tmp_path / "wide.safetensors")
    )
    assert all(torch.equal(x, y) for module in a for x, y in zip(a[module], b[module], strict=True))
    one, other = (audit(tmp_path / f"{name}.safetensors").total for name in ("small", "wide"))
    assert one == other


@pytest.mark.parametrize("form", ["kohya", "kohya, no alpha", "comfyui", "alpha", "alpha with down"])
def test_float8_that_diffusers_would_have_to_scale_is_refused(
    jobs: dict[str, Path], tmp_path: Path, form: str
) -> None:
    write = PARTIAL[form] if form in PARTIAL else FORMS[form][0]
    source = write(max(jobs["inkprint"].glob("*.safetensors")), tmp_path / "wide.safetensors")
    with pytest.raises(LoraError, match="is of dtype F8_E4M3, which diffusers cannot convert from this form"):
        inspect_lora(in_float8(source, tmp_path / "small.safetensors"))
