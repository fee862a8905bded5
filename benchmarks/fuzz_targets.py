"""The parsers of foreign bytes, each with genuine files to start from; see ``fuzz.py``."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness._util.atomic_files import write_bytes
from harness.errors import HarnessError
from harness.importers.aitoolkit.config import SampleConfig
from harness.importers.aitoolkit.config_file import load_config
from harness.importers.aitoolkit.samples import resolve_samples
from harness.importers.server_request import load_request
from harness.judging.baseline_store import BaselineStore
from harness.judging.tolerance_file import ToleranceFile
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.lora_shapes import transformer_shapes
from harness.report.build import build_report
from harness.report.bundle import import_bundle
from harness.report.diagnosis_view import read_diagnoses
from harness.report.review import load_review
from harness.runs.accept import accept_run
from harness.runs.folder import read_manifest
from harness.schema.case import load_case
from harness.schema.lora_file import inspect_lora
from harness.schema.spec import FLEX2
from harness.sweeps.grid import read_grid

JOB = Path(__file__).parents[1] / "harness/data/jobs/emoji_inkprint"
CASE = b"""id: job/a
base: {embedded: tiny-flex2-emoji}
preview: {file: a.jpg, sha256: "%s", width: 64, height: 64, step: 250, index: 3}
settings: {prompt: "a cat", width: 64, height: 64, seed: 42, sample_steps: 2, guidance_scale: 4.0}
tolerance: {ssim_min: 0.9, lpips_max: 0.1, source: test}
""" % (b"0" * 64)
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


@dataclass(frozen=True)
class Target:
    """A parser and the files it is known to read."""

    read: Callable[[bytes], object]
    corpus: list[bytes]


def _in_file(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    file.parent.mkdir(parents=True, exist_ok=True)

    def from_bytes(data: bytes) -> object:
        file.write_bytes(data)
        return read()

    return from_bytes


def _case(work: Path) -> Target:
    file = work / "a.case.yaml"
    return Target(_in_file(file, lambda: load_case(file)), [CASE])


def _config(work: Path) -> Target:
    genuine = (JOB / "config.yaml").read_bytes()
    tag = b"\n  meta: !!python/object/apply:collections.OrderedDict\n  - - - name\n      - a\n"
    return Target(_in_file(work / "config.yaml", lambda: load_config(work)), [genuine, genuine + tag])


def _grid(work: Path) -> Target:
    corpus = [
        b"axes: {shift: [1, 3.0], dtype: [bf16]}\ncombine: product\n",
        b"axes: {seed: [1], scheduler: [Heun]}\n",
    ]
    return Target(_in_file(work / "grid.yaml", lambda: read_grid(work / "grid.yaml")), corpus)


def _request(work: Path) -> Target:
    body = {
        "model": "flex2", "trigger_word": "sks",
        "loras": [{"path": "a.safetensors", "network_multiplier": 1.0}],
        "prompts": [{"prompt": "[trigger] cat", "width": 64, "seed": 1, "guidance_scale": 4}],
    }  # fmt: skip
    return Target(
        _in_file(work / "r.json", lambda: load_request(work / "r.json")), [json.dumps(body).encode()]
    )


def _lora(work: Path) -> Target:
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

    return Target(_in_file(work / "a.safetensors", read), [small])


def _image(work: Path) -> Target:
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

    return Target(_in_file(work / "a.jpg", read), corpus)


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


def _bundle(work: Path) -> Target:
    def read() -> object:
        for file in (work / "out").glob("*"):
            file.unlink()
        return import_bundle(work / "a.zip", out=work / "out")

    return Target(_in_file(work / "a.zip", read), [_zip(_bundle_files())])


def _bundle_case(work: Path) -> Target:
    """The case inside a bundle whose hashes are right."""
    inner = _bundle(work).read

    def read(data: bytes) -> object:
        (work / "mark").write_bytes(b"x")
        result = inner(_zip(_bundle_files() | {"case.json": data}))
        assert {path.name for path in work.iterdir()} <= {"a.zip", "out", "mark", "corpus"}
        return result

    return Target(read, [_bundle_files()["case.json"]])


def _rows(work: Path) -> Target:
    """Rows as the report shows them and as they are accepted."""
    run = work / "run"

    def read() -> object:
        build_report(run, jobs=1)
        return accept_run(run, [], root=work / "baselines", reason="fuzz")

    from_bytes = _in_file(run / "results.jsonl", read)
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


def _manifest(work: Path) -> Target:
    read = _in_file(work / "run.json", lambda: read_manifest(work))
    return Target(read, [b'{"identity": {"cases": ["a"]}, "created": "2026"}'])


def _baseline(work: Path) -> Target:
    entry = {
        "verdict": "match", "accepted": "2026-01-01", "accepted_by": "me", "reason": "first", "scores": None,
        "image_sha256": "0", "settings": {}, "environment": {}, "rendered": {}, "preview_sha256": "0",
        "lora_sha256": None,
    }  # fmt: skip
    store = BaselineStore(work)
    corpus = [json.dumps({"case": "a", "entries": {"cpu": entry}}).encode(), b'{"case": "a", "entries": {}}']
    return Target(_in_file(work / "a.json", lambda: store.entries("a")), corpus)


def _tolerance(work: Path) -> Target:
    read = _in_file(work / "t.json", lambda: ToleranceFile.load(work / "t.json"))
    limits = {
        "ssim_min": 0.9, "lpips_max": 0.1, "psnr_min": None, "separated": [], "overlap": ["ssim"],
        "margin": {"ssim": 1}, "undetected": [],
    }  # fmt: skip
    measured = {"control": "again", "kind": "noise", "ssim": 1.0, "lpips": 0.0, "psnr": None}
    found = {
        "date": "2026-01-01", "command": "harness calibrate", "fingerprint": {}, "all_cases": limits,
        "cases": {"a": limits}, "evidence": {"a": [measured]},
    }  # fmt: skip
    return Target(read, [b'{"environments": {}}', json.dumps({"environments": {"cpu": found}}).encode()])


def _review(work: Path) -> Target:
    body = {
        "format": "harness-review/1",
        "run": "a",
        "created": "2026",
        "reviewer": "me",
        "exported": "2026",
        "decisions": [],
    }
    return Target(
        _in_file(work / "r.json", lambda: load_review(work / "r.json")), [json.dumps(body).encode()]
    )


def _diagnosis(work: Path) -> Target:
    cause = {
        "axis": "shift",
        "value": 7.0,
        "reference_value": 3.0,
        "gap_closed": 0.5,
        "ssim": 0.9,
        "lpips": None,
    }
    body = {"case": "job/a", "findings": [{"id": "a", "severity": "b", "message": "c"}], "causes": [cause]}
    file = work / "diagnosis" / "a.json"
    return Target(_in_file(file, lambda: read_diagnoses(work)), [json.dumps(body).encode()])


def _prompt(work: Path) -> Target:
    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        try:
            return resolve_samples(SampleConfig(prompts=[text, "b"]), "sks")
        except ValueError as error:  # as the trainer stops; the import makes a line of it
            raise HarnessError(str(error)) from error

    return Target(
        read, [b"a [trigger] cat --w 512 --h 512 --d 7 --s 20 --cfg 3.5 --m 0.5 --n dark --ctrl_img a.png"]
    )


def _base(work: Path) -> Target:
    """A base's index and configs, with the weights' header beside them."""
    import shutil

    from harness.schema.case import Base

    folder = work / "base"
    shutil.copytree(Path(__file__).parents[1] / "harness/data/checkpoints/tiny-flex2-emoji", folder)
    base = Base(path=str(folder))
    for weights in folder.glob("*/*.safetensors"):
        weights.write_bytes(b"")
    shards = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    files = [folder / "model_index.json", folder / "transformer/config.json", shards]
    small = _lora(work / "lora").corpus[0]
    corpus = [bytes([0]) + files[0].read_bytes(), bytes([1]) + files[1].read_bytes(), bytes([2]) + small]
    genuine = [files[0].read_bytes(), files[1].read_bytes(), small]

    def read(data: bytes) -> object:
        which = data[0] % 3 if data else 0
        for file, content in zip(files, genuine, strict=True):
            write_bytes(file, content)
        files[which].write_bytes(data[1:])
        return transformer_shapes(find_checkpoint(base, FLEX2))

    return Target(read, corpus)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "case file": _case,
    "config.yaml": _config,
    "prompt flags": _prompt,
    "grid file": _grid,
    "request JSON": _request,
    "LoRA": _lora,
    "image": _image,
    "bundle": _bundle,
    "case in a bundle": _bundle_case,
    "rows and report": _rows,
    "run.json": _manifest,
    "baseline": _baseline,
    "tolerance file": _tolerance,
    "review": _review,
    "diagnosis": _diagnosis,
    "base": _base,
}
"""Every parser, by the name of what it reads; each is given an empty folder to work in."""
