"""Every way to remove or misname a base's weights ends in one line; none renders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import CheckpointError
from harness.pipeline.models import read_headers
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2

Make = Callable[..., RenderRequest]
Weights = dict[str, torch.Tensor]
Index = dict[str, Any]


def layers(weights: Weights) -> list[str]:
    """Return the prefix of every numbered layer, e.g. ``encoder.block.0.``."""
    found: dict[str, None] = {}
    for name in weights:
        parts = name.split(".")
        numbers = [place for place, part in enumerate(parts) if part.isdigit()]
        if numbers:
            found[".".join(parts[: numbers[0] + 1]) + "."] = None
    return list(found)


def without(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if not name.startswith(prefix)}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new, 1): value for name, value in weights.items()}


def of_one(change: Callable[[torch.Tensor], torch.Tensor], place: int = -1) -> Callable[[Weights], Weights]:
    def changed(weights: Weights) -> Weights:
        name = sorted(weights)[place]
        return {**weights, name: change(weights[name]).contiguous()}

    return changed


CHANGES: dict[str, Callable[[Weights], Weights]] = {
    "the first weight is missing": lambda weights: dict(sorted(weights.items())[1:]),
    "the last weight is missing": lambda weights: dict(sorted(weights.items())[:-1]),
    "half of the weights are missing": lambda weights: dict(sorted(weights.items())[::2]),
    "the first layer is missing": lambda weights: without(layers(weights)[0])(weights),
    "the last layer is missing": lambda weights: without(layers(weights)[-1])(weights),
    "a layer has another number": lambda weights: renamed(layers(weights)[0], "layer.99.")(weights),
    "a prefix too many": lambda weights: {f"model.{name}": value for name, value in weights.items()},
    "two prefixes too few": lambda weights: {
        name.split(".", 2)[-1]: value for name, value in weights.items()
    },
    "another name for every weight": renamed(".weight", ".kernel"),
    "one letter of one name": lambda weights: renamed(sorted(weights)[3], sorted(weights)[3] + "_")(weights),
    "a weight too many": lambda weights: {**weights, "extra.weight": torch.zeros(2, 2)},
    "a shorter weight": of_one(lambda weight: weight[:-1]),
    "a weight with one more side": of_one(lambda weight: weight[None]),
    "fp64": of_one(lambda weight: weight.double()),
    "integers": of_one(lambda weight: weight.to(torch.int64)),
    "fp8": of_one(lambda weight: weight.to(torch.float8_e4m3fn)),
}


def shard(folder: Path, weights: Weights, stem: str) -> list[Path]:
    """Write ``weights`` as two files with their index, in place of the one file."""
    (folder / f"{stem}.safetensors").unlink()
    names = sorted(weights)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [folder / f"{stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for file, half in zip(files, halves, strict=True):
        save_file({name: weights[name] for name in half}, file, metadata={"format": "pt"})
    places = {name: file.name for file, half in zip(files, halves, strict=True) for name in half}
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return files


def _weights_file(base: Path, component: str) -> Path:
    return next((base / component).glob("*.safetensors"))


@pytest.mark.parametrize("component", FLEX2.models)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_refused(
    base: Path, refused: Callable[[str], str], component: str, change: str
) -> None:
    file = _weights_file(base, component)
    before = load_file(file)
    after = CHANGES[change](before)
    save_file(after, file, metadata={"format": "pt"})
    line = refused(component)
    moved = {*before} ^ {*after} or {sorted(before)[-1]}
    assert any(name in line or name.removeprefix("text_model.") in line for name in moved)


@pytest.mark.parametrize("component", FLEX2.models)
def test_files_that_are_cut_or_gone_are_refused(
    base: Path, refused: Callable[[str], str], component: str
) -> None:
    file = _weights_file(base, component)
    whole = file.read_bytes()
    for cut in (whole[:-100], whole[:20], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        file.write_bytes(cut)
        refused(component)
    file.unlink()
    refused(component)


def _moved(index: Index, files: list[Path]) -> Index:
    places = index["weight_map"]
    return {"weight_map": {**places, min(places): files[1].name}}


def _lacking(index: Index, _: list[Path]) -> Index:
    places = index["weight_map"]
    return {"weight_map": {name: places[name] for name in sorted(places)[1:]}}


def _outside(index: Index, files: list[Path]) -> Index:
    places = index["weight_map"]
    shutil.copy(files[1], files[1].parent.parent)
    files[1].unlink()
    outer = f"../{files[1].name}"
    return {"weight_map": {name: outer if file == files[1].name else file for name, file in places.items()}}


def _overlapping(index: Index, files: list[Path]) -> Index:
    first, second = (load_file(file) for file in files)
    name = min(first)
    save_file({**second, name: first[name] + 1}, files[1], metadata={"format": "pt"})
    return index


def _doubled(index: Index, files: list[Path]) -> Index:
    shutil.copy(files[0], files[1])
    return index


INDEXES: dict[str, Callable[[Index, list[Path]], object]] = {
    "a weight in another shard": _moved,
    "a weight that it does not name": _lacking,
    "a shard outside the folder": _outside,
    "a weight twice, with other values": _overlapping,
    "one shard twice": _doubled,
    "a shard that is not there": lambda index, files: {
        "weight_map": dict.fromkeys(index["weight_map"], "model-00003-of-00003.safetensors")
    },
    "no weights": lambda index, files: {"weight_map": {}},
    "no map": lambda index, files: {},
    "a list": lambda index, files: [],
    "null": lambda index, files: {"weight_map": dict.fromkeys(index["weight_map"])},
}


@pytest.mark.parametrize("change", INDEXES)
def test_an_index_that_contradicts_its_shards_is_refused(base: Path, change: str) -> None:
    file = _weights_file(base, "vae")
    files = shard(file.parent, load_file(file), file.stem)
    place = next(file.parent.glob("*.index.json"))
    assert len(read_headers(file.parent)) > 100
    place.write_text(json.dumps(INDEXES[change](json.loads(place.read_text()), files)))
    with pytest.raises(CheckpointError) as caught:
        read_headers(file.parent)
    assert str(place) in str(caught.value)


@pytest.mark.parametrize("component", ["transformer", "vae"])
def test_weights_that_are_not_finite_are_refused(
    base: Path, refused: Callable[[str], str], component: str
) -> None:
    file = _weights_file(base, component)
    weights = load_file(file)
    name = next(name for name in sorted(weights) if "norm" in name and "encoder.down" not in name)
    save_file({**weights, name: weights[name] * float("nan")}, file, metadata={"format": "pt"})
    assert name.removeprefix("text_model.") in refused(component)


@pytest.mark.parametrize("component", FLEX2.models)
def test_shards_load_and_a_lost_one_is_refused(
    base: Path, refused: Callable[[str], str], request_for: Make, component: str
) -> None:
    file = _weights_file(base, component)
    files = shard(file.parent, load_file(file), file.stem)
    ReferenceRenderer(device="cpu").render(request_for(base=Base(path=str(base))))
    files[1].unlink()
    refused(component)


def test_a_weight_that_no_version_saves_any_more_is_no_harm(base: Path, request_for: Make) -> None:
    file = _weights_file(base, "text_encoder")
    positions = {"text_model.embeddings.position_ids": torch.arange(64)[None].to(torch.int64)}
    save_file({**load_file(file), **positions}, file, metadata={"format": "pt"})
    ReferenceRenderer(device="cpu").render(request_for(base=Base(path=str(base))))
