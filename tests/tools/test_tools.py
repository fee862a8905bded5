"""The training tools: the grammar, the compositor, a smoke run from icons to a checkpoint that renders."""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"

if str(TOOLS) not in sys.path:
    sys.path.append(str(TOOLS))

import axis_table  # noqa: E402
import model_card  # noqa: E402
from tinyflex import icons, scenes  # noqa: E402
from tinyflex.components import Tokenizers, read_words, write_tokenizers  # noqa: E402

NOUNS = icons.read_nouns()
TEMPLATE = ROOT / "harness" / "data" / "checkpoints" / "tiny-flex2"


@pytest.fixture
def run_tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a tool as its command does, in this process: torch need not be imported again."""

    def run(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(TOOLS / name), run_name="__main__")

    return run


@pytest.fixture(scope="module")
def atlas() -> icons.Atlas:
    """Four icons, each a disc of its own colour: no icon package is needed to test."""
    y, x = np.mgrid[:128, :128]
    disc = ((x - 63.5) ** 2 + (y - 63.5) ** 2 < 50**2).astype(np.uint8)
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
    pixels = np.stack([np.stack([disc * c for c in (*colour, 255)]) for colour in colours])
    return icons.Atlas(NOUNS[:4], pixels.astype(np.uint8), "discs drawn by the test")


def test_every_caption_word_is_one_piece_of_the_tokenizer(tmp_path: Path) -> None:
    made = scenes.SceneMaker(NOUNS, 0).make(2000)
    words = {word for caption in made.captions for word in caption.split()}
    assert words <= set(read_words())
    write_tokenizers(TEMPLATE, read_words(), tmp_path)
    tokenizer = Tokenizers(tmp_path).t5
    assert tokenizer.tokenize(" ".join(sorted(words))) == [f"▁{word}" for word in sorted(words)]


def test_one_seed_gives_one_sequence_of_scenes() -> None:
    first, second = (scenes.SceneMaker(NOUNS, 7).make(50) for _ in range(2))
    assert first.captions == second.captions
    assert np.array_equal(first.boxes, second.boxes)
    assert first.captions != scenes.SceneMaker(NOUNS, 8).make(50).captions


def test_no_training_scene_shows_a_held_out_combination() -> None:
    made = scenes.SceneMaker(NOUNS, 1).make(3000)
    for caption, slots in zip(made.captions, made.icons, strict=True):
        drawn = [NOUNS[slot].singular for slot in slots if slot >= 0]
        colour = next(word for word in reversed(caption.split()) if word in scenes.COLOURS)
        assert not any(scenes.held_out(noun, colour) for noun in drawn), caption
        if len(set(drawn)) == 2:
            assert not scenes.held_out(drawn[0], drawn[1]), caption


def test_held_out_prompts_use_trained_words_in_unseen_combinations() -> None:
    prompts = scenes.held_out_prompts(NOUNS, 40)
    trained = set(scenes.SceneMaker(NOUNS, 1).make(5000).captions)
    assert len(set(prompts)) == 40
    assert not trained & set(prompts)
    assert {word for prompt in prompts for word in prompt.split()} <= set(read_words())


def test_the_compositor_draws_the_icon_in_its_box_on_its_background(atlas: icons.Atlas) -> None:
    import torch
    from tinyflex.compose import Compositor

    made = scenes.SceneMaker(atlas.nouns, 2).make(1)
    made.icons[0], made.boxes[0, 0] = (2, -1, -1), (40, 88, 48)
    made.colours[0], made.patterns[0] = (255, 255, 255), (0, 0, 0)
    picture = Compositor(atlas, "cpu").draw(made, torch.tensor([0]))[0]
    assert picture.shape == (3, 128, 128)
    assert picture[:, 88, 40].tolist() == pytest.approx([-1, -1, 1], abs=0.02)
    assert picture[:, 10, 100].tolist() == [1, 1, 1]


def test_packing_is_undone_by_unpacking_and_is_diffusers_own() -> None:
    import torch
    from diffusers import FluxPipeline
    from tinyflex.bank import pack, unpack

    latents = torch.randn(2, 16, 8, 12)
    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 16, 8, 12))
    assert torch.equal(unpack(pack(latents), 8, 12), latents)


def test_the_training_shift_is_the_schedulers() -> None:
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift
    from tinyflex.components import SCHEDULER
    from tinyflex.network import shift, shift_factor

    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 25, 25), mu=calculate_shift(64))
    ours = shift(torch.linspace(1, 1 / 25, 25), shift_factor(64))
    assert torch.allclose(scheduler.sigmas[:-1], ours, atol=1e-5)


@pytest.mark.timeout(600)
def test_smoke_run_trains_exports_and_renders(
    run_tool: Callable[..., None], atlas: icons.Atlas, tmp_path: Path
) -> None:
    icons.save_atlas(atlas, tmp_path / "icons.npz")
    out = tmp_path / "run"
    arguments = ("--data", str(tmp_path / "icons.npz"), "--out", str(out), "--device", "cpu", "--smoke")
    run_tool("train_tiny.py", *arguments)
    stages = [json.loads(line)["stage"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert stages[0] == "models"
    assert stages[-1] == "export"
    assert {"autoencoder", "bank", "flow", "distil"} <= set(stages)
    assert (out / "grid.png").stat().st_size > 0

    from harness.pipeline.renderer import ReferenceRenderer
    from harness.schema.base import Base
    from harness.schema.render import RenderRequest

    request = RenderRequest(
        base=Base(path=str(out / "checkpoint")), pipeline="builtin", dtype="fp32", lora=None, prompt="a cat",
        neg="", width=128, height=128, seed=1, sample_steps=2, guidance_scale=4.0,
    )  # fmt: skip
    assert ReferenceRenderer(device="cpu").render(request).image.shape == (128, 128, 3)

    run_tool("train_tiny.py", *arguments, "--resume")
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()][len(stages) :]
    assert not any("loss" in row for row in rows), "a finished stage was trained again"


def test_without_icons_the_tool_says_what_it_needs(run_tool: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--icons"):
        run_tool("train_tiny.py", "--out", str(tmp_path / "run"), "--device", "cpu", "--smoke")


def test_the_embedded_checkpoint_is_what_its_card_says(tiny: Path) -> None:
    card = (tiny / "README.md").read_text()
    assert model_card.hashes(tiny) in card
    assert {"grid.webp", "grid_guidance1.webp", "lora.webp"} <= {path.name for path in tiny.iterdir()}
    assert sum(path.stat().st_size for path in tiny.rglob("*") if path.is_file()) < 20e6


def test_axes_change_its_pictures_in_their_order(jobs: dict[str, Path]) -> None:
    """Seed and noise era most, no guidance less, equally valid arithmetic hardly: no rounding tips it."""
    groups = [
        (axis_table.SEED, axis_table.NOISE_ERA),
        (axis_table.GUIDANCE,),
        (axis_table.ATTENTION, axis_table.ADAPTER),
    ]
    lora = jobs["inkprint"] / "emoji_inkprint.safetensors"
    wanted = {name for group in groups for name in group}
    rows = {row.change: row for row in axis_table.table(lora, axis_table.PROMPTS[2:3], only=wanted)}
    for larger, smaller in itertools.pairwise(groups):
        assert max(rows[name].ssim for name in larger) < min(rows[name].ssim for name in smaller)
        assert min(rows[name].lpips for name in larger) > max(rows[name].lpips for name in smaller)


@pytest.mark.timeout(600)
def test_a_lora_job_of_the_tool_is_one_that_the_harness_imports(
    run_tool: Callable[..., None], tiny: Path, tmp_path: Path
) -> None:
    from harness.importers.aitoolkit import import_job

    places = ("--checkpoint", str(tiny), "--out", str(tmp_path))
    run_tool("train_tiny_lora.py", *places, "--steps=2", "--sample-every=2", "--sample-steps=2")
    imported = import_job(tmp_path / "tiny_flex2_inkprint", out=tmp_path / "cases")
    assert [case.preview.step for case in imported.cases] == [0] * 5 + [2] * 5
    assert [case.settings.sample_steps for case in imported.cases] == [2, 2, 2, 2, 20] * 2
    assert all(case.incomparable is None and case.base.embedded for case in imported.cases)
    assert {case.lora.network_multiplier for case in imported.cases if case.lora} == {1.0}
