"""Parsers of text files: YAML, JSON and prompts."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import HarnessError
from harness.importers.aitoolkit.config_file import load_config
from harness.importers.aitoolkit.sample_config import SampleConfig
from harness.importers.aitoolkit.samples import resolve_samples
from harness.importers.image_metadata.read_image import stated_in
from harness.importers.image_metadata.text_chunks import ImageTexts, read_texts
from harness.importers.server_request import load_request
from harness.judging.baseline_store import BaselineStore
from harness.judging.tolerance_file import ToleranceFile
from harness.report.diagnoses import read_diagnoses
from harness.report.review import load_review
from harness.runs.run_files import read_manifest
from harness.schema.case import load_case
from harness.sweeps.grid import read_grid
from tests.fuzz.target import JOB, ROOT, Target, in_file

CASE = b"""id: job/a
base: {embedded: tiny-flex2-emoji}
preview: {file: a.jpg, sha256: "%s", width: 64, height: 64, step: 250, index: 3}
settings: {prompt: "a cat", width: 64, height: 64, seed: 42, sample_steps: 2, guidance_scale: 4.0}
tolerance: {ssim_min: 0.9, lpips_max: 0.1, source: test}
""" % (b"0" * 64)


def case_target(work: Path) -> Target:
    file = work / "a.case.yaml"
    return Target(in_file(file, lambda: load_case(file)), [CASE])


def config_target(work: Path) -> Target:
    genuine = (JOB / "config.yaml").read_bytes()
    tag = b"\n  meta: !!python/object/apply:collections.OrderedDict\n  - - - name\n      - a\n"
    return Target(
        in_file(work / "config.yaml", lambda: load_config(work / "config.yaml")), [genuine, genuine + tag]
    )


def grid_target(work: Path) -> Target:
    corpus = [
        b"axes: {shift: [1, 3.0], dtype: [bf16]}\ncombine: product\n",
        b"axes: {seed: [1], scheduler: [Heun]}\n",
    ]
    return Target(in_file(work / "grid.yaml", lambda: read_grid(work / "grid.yaml")), corpus)


def request_target(work: Path) -> Target:
    body = {
        "model": "flex2", "trigger_word": "sks",
        "loras": [{"path": "a.safetensors", "network_multiplier": 1.0}],
        "prompts": [{"prompt": "[trigger] cat", "width": 64, "seed": 1, "guidance_scale": 4}],
    }  # fmt: skip
    return Target(
        in_file(work / "r.json", lambda: load_request(work / "r.json")), [json.dumps(body).encode()]
    )


def metadata_target(work: Path) -> Target:
    """Texts of genuine images, and a few of other tools' forms."""
    images = sorted((ROOT / "tests/data/inference_images").glob("*.png"))
    texts = [read_texts(path).texts for path in images]
    graphs = [each["prompt"] for each in texts if "prompt" in each]
    infotexts = [each["parameters"] for each in texts if "parameters" in each]
    swarm = json.dumps({"sui_image_params": {"prompt": "a", "loras": ["b"], "loraweights": "1"}})
    corpus = [text.encode() for text in (*graphs, *infotexts, swarm)]

    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        known = dict.fromkeys(("prompt", "workflow", "parameters", "invokeai_metadata"), text)
        return stated_in(ImageTexts("PNG", (8, 8), known))

    return Target(read, corpus)


def prompt_target(work: Path) -> Target:
    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        try:
            return resolve_samples(SampleConfig(prompts=[text, "b"]), "sks")
        except ValueError as error:  # as the trainer stops; the import makes a line of it
            raise HarnessError(str(error)) from error

    return Target(
        read, [b"a [trigger] cat --w 512 --h 512 --d 7 --s 20 --cfg 3.5 --m 0.5 --n dark --ctrl_img a.png"]
    )


def manifest_target(work: Path) -> Target:
    read = in_file(work / "run.json", lambda: read_manifest(work))
    return Target(read, [b'{"identity": {"cases": ["a"]}, "created": "2026"}'])


def baseline_target(work: Path) -> Target:
    entry = {
        "verdict": "match", "accepted": "2026-01-01", "accepted_by": "me", "reason": "first", "scores": None,
        "image_sha256": "0", "settings": {}, "environment": {}, "rendered": {}, "preview_sha256": "0",
        "lora_sha256": None,
    }  # fmt: skip
    store = BaselineStore(work)
    corpus = [json.dumps({"case": "a", "entries": {"cpu": entry}}).encode(), b'{"case": "a", "entries": {}}']
    return Target(in_file(work / "a.json", lambda: store.entries("a")), corpus)


def tolerance_target(work: Path) -> Target:
    read = in_file(work / "t.json", lambda: ToleranceFile.load(work / "t.json"))
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


def review_target(work: Path) -> Target:
    body = {
        "format": "harness-review/1",
        "run": "a",
        "created": "2026",
        "reviewer": "me",
        "exported": "2026",
        "decisions": [],
    }
    return Target(in_file(work / "r.json", lambda: load_review(work / "r.json")), [json.dumps(body).encode()])


def diagnosis_target(work: Path) -> Target:
    cause = {
        "axis": "shift",
        "value": 7.0,
        "reference_value": 3.0,
        "gap_closed": 0.5,
        "ssim": 0.9,
        "lpips": None,
    }
    body = {
        "case": "job/a",
        "findings": [{"id": "a", "severity": "info", "message": "c", "where": "d"}],
        "causes": [cause],
    }
    file = work / "diagnosis" / "a.json"
    return Target(in_file(file, lambda: read_diagnoses(work)), [json.dumps(body).encode()])
