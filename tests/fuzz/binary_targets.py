"""Parsers of images, weights, zip files and whole folders."""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness._util.atomic_files import write_bytes
from harness.importers.bundle import import_bundle
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.lora_shapes import transformer_shapes
from harness.report.build import build_report
from harness.runs.accept import accept_run
from harness.schema.lora_file import inspect_lora
from harness.schema.spec import FLEX2
from tests.fuzz.target import ROOT, Target, in_file

CASE_JSON: dict[str, Any] = {
    "id": "job/a",
    "base": {"embedded": "tiny-flex2-emoji"},
    "preview": {"file": "a.png", "sha256": "0" * 64, "width": 8, "height": 8},
    "settings": {"prompt": "a cat", "width": 64, "height": 64, "seed": 42, "sample_steps": 2},
}
ROW: dict[str, Any] = {
    "case": "job/a", "variant": "reference", "verdict": "incomparable", "reason": "pruned", "settings": {},
    "environment": {"python": "3"}, "tolerance": {"ssim_min": 0.9, "lpips_max": 0.1, "source": "test"},
    "images": {"preview": "images/job/a/preview.png"}, "description": CASE_JSON, "key": "k",
}  # fmt: skip


def lora_target(work: Path) -> Target:
    header = {
        "__metadata__": {"training_info": json.dumps({"step": 3})},
        "transformer.x.lora_A.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "transformer.x.lora_B.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [12, 20]},
    }
    text = json.dumps(header).encode()
    small = len(text).to_bytes(8, "little") + text + bytes(20)

    def read() -> object:
        lora = inspect_lora(work / "a.safetensors")
        return lora.software, lora.step

    return Target(in_file(work / "a.safetensors", read), [small])


def image_target(work: Path) -> Target:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 24, 3), np.uint8))
    corpus = []
    for kind in ("JPEG", "PNG", "WEBP"):
        for options in ({}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}):
            stream = io.BytesIO()
            picture.save(stream, kind, **options)
            corpus.append(stream.getvalue())

    def read() -> object:
        array = load_rgb(work / "a.jpg")
        return Codec.of(work / "a.jpg").apply(array[:64, :64])

    return Target(in_file(work / "a.jpg", read), corpus)


def _bundle_files() -> dict[str, bytes]:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    case = CASE_JSON | {"preview": CASE_JSON["preview"] | {"sha256": sha256(stream.getvalue()).hexdigest()}}
    return {"case.json": json.dumps(case).encode(), "case/a.png": stream.getvalue(), "README.txt": b"run it"}


def _zip(files: dict[str, bytes]) -> bytes:
    index = {
        "format": "harness-bundle/1",
        "files": {name: sha256(data).hexdigest() for name, data in files.items()},
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"bundle.json": json.dumps(index).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def bundle_target(work: Path) -> Target:
    def read() -> object:
        for file in (work / "out").glob("*"):
            file.unlink()
        return import_bundle(work / "a.zip", out=work / "out")

    return Target(in_file(work / "a.zip", read), [_zip(_bundle_files())])


def bundle_case_target(work: Path) -> Target:
    """The case inside a bundle whose hashes are right."""
    inner = bundle_target(work).read

    def read(data: bytes) -> object:
        (work / "mark").write_bytes(b"x")
        result = inner(_zip(_bundle_files() | {"case.json": data}))
        assert {path.name for path in work.iterdir()} <= {"a.zip", "out", "mark", "corpus"}
        return result

    return Target(read, [_bundle_files()["case.json"]])


def base_target(work: Path) -> Target:
    """A base's index and configs, with the weights' header beside them."""
    import shutil

    from harness.schema.base import Base

    folder = work / "base"
    shutil.copytree(ROOT / "harness/data/checkpoints/tiny-flex2-emoji", folder)
    base = Base(path=str(folder))
    for weights in folder.glob("*/*.safetensors"):
        weights.write_bytes(b"")
    shards = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    files = [folder / "model_index.json", folder / "transformer/config.json", shards]
    small = lora_target(work / "lora").corpus[0]
    corpus = [bytes([0]) + files[0].read_bytes(), bytes([1]) + files[1].read_bytes(), bytes([2]) + small]
    genuine = [files[0].read_bytes(), files[1].read_bytes(), small]

    def read(data: bytes) -> object:
        which = data[0] % 3 if data else 0
        for file, content in zip(files, genuine, strict=True):
            write_bytes(file, content)
        files[which].write_bytes(data[1:])
        return transformer_shapes(find_checkpoint(base, FLEX2))

    return Target(read, corpus)


def rows_target(work: Path) -> Target:
    """Rows as the report shows them and as they are accepted."""
    run = work / "run"

    def read() -> object:
        build_report(run, jobs=1)
        return accept_run(run, [], root=work / "baselines", reason="fuzz")

    from_bytes = in_file(run / "results.jsonl", read)
    (run / "run.json").write_text('{"identity": {"cases": ["job/a"]}, "created": "2026"}')
    rendered = {
        "width": 64, "height": 64, "steps": 2, "seed": 1, "guidance_scale": 4.0, "sigmas": [1.0, 0.0],
        "sigmas_sha256": "0", "dtype": "bf16", "noise": "current", "attention": "native", "device": "cpu",
        "offload": "none", "pipeline": "builtin", "pipeline_sha256": "0", "lora_mode": "none", "base": "b",
        "lora_sha256": None, "network_multiplier": None, "revision": "r",
    }  # fmt: skip
    scores = {"ssim": 0.9, "lpips": 0.1, "psnr": 30.0}
    tile = {"x": 0, "y": 0, "size": 16, "mean_abs": 1.0}
    pixels = {"identical": False, "max_abs": 3, "mean_abs": 0.5, "changed": 0.5, "worst_tile": tile}
    compared = ROW | scores | {"verdict": "drift", "rendered": rendered, "pixels": pixels}
    gpu = ROW | {"environment": {"gpu": {"name": "a"}}, "variant": "shift=7"}
    return Target(from_bytes, [json.dumps(row).encode() + b"\n" for row in (ROW, compared, gpu)])
