"""Finding a base checkpoint and refusing what is not one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.case import Base
from harness.errors import CheckpointError
from harness.reference.checkpoint import find_checkpoint, fingerprint
from harness.reference.spec import FLEX2


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


def test_embedded_and_local_are_the_same_content(tiny: Path) -> None:
    embedded = find_checkpoint(Base(embedded="tiny-flex2"), FLEX2)
    assert embedded.revision == find_checkpoint(Base(path=str(tiny)), FLEX2).revision
    assert embedded.name == "embedded:tiny-flex2"


def test_the_fingerprint_sees_a_changed_weight(copy: Path) -> None:
    before = fingerprint(copy)
    weights = copy / "text_encoder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
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
    "FLUX.1's channels": (
        lambda base: _edit(base / "transformer" / "config.json", in_channels=64),
        "in_channels: found 64, flex2 has 196",
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


def test_base_forms(tmp_path: Path) -> None:
    assert Base.parse("embedded:x") == Base(embedded="x")
    assert Base.parse("ostris/Flex.2-preview@abc") == Base(repo="ostris/Flex.2-preview", revision="abc")
    assert Base.parse(str(tmp_path)).path == str(tmp_path)
    from harness.errors import CaseError

    with pytest.raises(CaseError, match="neither a folder nor a repository"):
        Base.parse("./absent/folder")
