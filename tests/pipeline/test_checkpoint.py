"""Finding a base checkpoint and refusing what is not one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.pipeline.checkpoint import find_checkpoint, fingerprint
from harness.pipeline.load import check_trust
from harness.schema.base import Base
from harness.schema.spec import FLEX2


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


def test_embedded_and_local_are_the_same_content(tiny: Path) -> None:
    embedded = find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2)
    assert embedded.revision == find_checkpoint(Base(path=str(tiny)), FLEX2).revision
    assert embedded.name == "embedded:tiny-flex2-emoji"


def test_the_fingerprint_sees_a_changed_weight(copy: Path) -> None:
    before = fingerprint(copy)
    weights = copy / "text_encoder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(copy) != before


def test_the_fingerprint_sees_the_pipeline_and_no_model_card(copy: Path) -> None:
    before = fingerprint(copy)
    (copy / "README.md").write_text("A model card.")
    assert fingerprint(copy) == before
    (copy / "pipeline.py").write_text("")
    assert fingerprint(copy) != before


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda base: (base / "model_index.json").unlink(), r"model_index\.json: does not exist"),
    "broken index": (lambda base: (base / "model_index.json").write_text("{"), "cannot be read"),
    "no VAE": (lambda base: shutil.rmtree(base / "vae"), "vae: component folder is missing"),
    "no VAE weights": (
        lambda base: (base / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
        r"vae: holds no \*\.safetensors",
    ),
    "no T5 vocabulary": (
        lambda base: (base / "tokenizer_2" / "tokenizer.json").unlink(),
        r"tokenizer_2: lacks tokenizer\.json, or spiece\.model",
    ),
    "no CLIP vocabulary": (
        lambda base: (base / "tokenizer" / "merges.txt").unlink(),
        r"tokenizer: lacks tokenizer_config\.json and vocab\.json and merges\.txt, or",
    ),
    "no CLIP length": (
        lambda base: (base / "tokenizer" / "tokenizer_config.json").unlink(),
        "tokenizer: lacks tokenizer_config",
    ),
    "FLUX.1's channels": (
        lambda base: _edit(base / "transformer" / "config.json", in_channels=64),
        "in_channels: found 64, flex2 has 196",
    ),
    "a component of another library": (
        lambda base: _edit(base / "model_index.json", vae=["subprocess", "Popen"]),
        r"vae: found \['subprocess', 'Popen'\], not a class of diffusers or transformers",
    ),
    "one more component, of another library": (
        lambda base: _edit(base / "model_index.json", helper=["antigravity", "x"]),
        r"helper: found \['antigravity', 'x'\]",
    ),
    "no guidance": (
        lambda base: _edit(base / "transformer" / "config.json", guidance_embeds=False),
        "guidance_embeds: found False",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_one_clear_line(name: str, copy: Path) -> None:
    change, expected = BREAKS[name]
    change(copy)
    with pytest.raises(CheckpointError, match=expected) as caught:
        find_checkpoint(Base(path=str(copy)), FLEX2)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(Base(path=str(tmp_path / "absent")), FLEX2)
    with pytest.raises(CheckpointError, match="is not in the cache"):
        find_checkpoint(Base(repo="nobody/nothing-of-this-name"), FLEX2)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in the hub's cache, with code of its own, as ``hf download`` leaves it."""
    from huggingface_hub import constants

    folder = tmp_path / "hub" / "models--me--mine"
    shutil.copytree(tiny, folder / "snapshots" / COMMIT)
    (folder / "snapshots" / COMMIT / "pipeline.py").write_text("raise SystemExit('this must not run')\n")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return "me/mine"


@pytest.mark.parametrize(("revision", "pinned"), [(None, False), ("main", False), (COMMIT, True)])
def test_a_branch_is_no_pin(cached: str, revision: str | None, pinned: bool) -> None:
    checkpoint = find_checkpoint(Base(repo=cached, revision=revision), FLEX2, download=False)
    assert (checkpoint.revision, checkpoint.pinned) == (COMMIT, pinned)


def test_hub_code_runs_only_trusted_and_pinned(cached: str) -> None:
    moving = find_checkpoint(Base(repo=cached), FLEX2, download=False)
    pinned = find_checkpoint(Base(repo=cached, revision=COMMIT), FLEX2, download=False)
    for checkpoint, trust in ((moving, False), (moving, True), (pinned, False)):
        check_trust(checkpoint, "builtin", trust)
        with pytest.raises(CheckpointError, match="does not run without your trust") as caught:
            check_trust(checkpoint, "hub", trust)
        said = (
            "--trust-remote-code; or"
            if checkpoint.pinned
            else f"--trust-remote-code --base me/mine@{COMMIT};"
        )
        assert said in str(caught.value)
    check_trust(pinned, "hub", True)


def test_base_forms(tmp_path: Path) -> None:
    assert Base.parse("embedded:x") == Base(embedded="x")
    assert Base.parse("ostris/Flex.2-preview@abc") == Base(repo="ostris/Flex.2-preview", revision="abc")
    assert Base.parse(str(tmp_path)).path == str(tmp_path)
    from harness.errors import CaseError

    with pytest.raises(CaseError, match="neither a folder nor a repository"):
        Base.parse("./absent/folder")
