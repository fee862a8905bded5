"""Run demo, step-0 identity and one diagnosis in environments of other library versions, and print one table.

    python tools/environments.py                 every environment
    python tools/environments.py trainer lowest  some of them
    python tools/environments.py --here          this environment alone, as JSON

Each environment is a venv in a temporary folder that sees the packages of this one and installs its own pins
above them. Exit code 1 if demo or diagnosis fails in one. Below the table: what differs in bits between
environments and what does not, of tokens, embeddings, one transformer call, a decode, and the step-0 re-runs
with kernels that every version has (math attention, eager T5).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.schema.case import Case

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "transformers", "diffusers", "peft")
OLD_HUB = ("huggingface_hub<2", "httpx", "httpcore", "tokenizers<0.23")
LOWEST = ("transformers==5.3.0", "diffusers==0.42.0", "peft==0.18.0", "accelerate==1.1.0", *OLD_HUB)
PINS: dict[str, tuple[str, ...]] = {
    "this one": (),
    "trainer": (  # AI Toolkit 0.12.26
        "torch===2.13.0", "torchvision==0.28.0", "transformers==5.5.3", "peft==0.18.1", *OLD_HUB,
        "optimum-quanto==0.2.4",
    ),
    "lowest beside torch 2.13": (  # what pyproject.toml allows; torch as AI Toolkit 0.12 pins it
        "torch===2.13.0", "torchvision==0.28.0", *LOWEST,
    ),
    "CLIP reads both forms": ("transformers==5.6.0", *OLD_HUB),
    "last eager T5": ("transformers==5.14.0", *OLD_HUB),
    "first sdpa T5": ("transformers==5.15.0", *OLD_HUB),
    "last legacy noise": ("torch===2.11.0", "torchvision==0.26.0"),
    "lowest": ("torch===2.9.1", "torchvision==0.24.1", *LOWEST),  # torch of AI Toolkit 0.7.12 to 0.11.1
}  # fmt: skip
"""Pins by the name of their environment; what else they need comes from this one."""

MISSING = """
import importlib.metadata as found
for line in found.requires("torch"):
    name = line.split(";")[0].split("(")[0].split("=")[0].split("[")[0].split("<")[0].strip()
    if name.startswith("nvidia-") and "extra ==" not in line:
        try:
            found.version(name)
        except found.PackageNotFoundError:
            print(line.split(";")[0].replace("(", "").replace(")", "").replace(" ", ""))
"""
"""Prints the CUDA libraries that torch needs and that are not there: it does not start without them."""


def probe() -> dict[str, Any]:
    """Return versions, results and hashes of this environment."""
    import importlib.metadata

    import torch

    from harness.schema.versions import behaviour

    folder = Path(tempfile.mkdtemp(prefix="harness-environment-"))
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        **versions,
        "noise": behaviour("noise", torch.__version__),
        "T5": behaviour("t5_attention", versions["transformers"]),
        **_demo(folder),
        **_identity(folder),
        "bits": {**_bits(), "step 0, math attention and eager T5": _common_kernels(folder)},
    }


def _demo(folder: Path) -> dict[str, Any]:
    """Run the demo; every case but the deliberately wrong one must match."""
    from harness.demo import run_demo

    rows = run_demo(out=folder / "run", cases=folder / "cases").rows
    good = sum((row.verdict == "match") != row.case.endswith("wrong-guidance") for row in rows)
    return {"demo": f"{good} of {len(rows)}", "demo_ok": good == len(rows)}


def _step0_cases(folder: Path) -> list[Case]:
    from harness.schema.case import load_cases

    cases = load_cases([folder / "cases"])
    return [case for case in cases if case.preview.step == 0 and "wrong" not in case.id]


def _common_kernels(folder: Path) -> str:
    """Return a short hash of the step-0 re-runs under kernels that every version has."""
    from harness.pipeline.renderer import ReferenceRenderer
    from harness.runs.plan import RunOptions, request_of

    renderer, pixels = ReferenceRenderer(device="cpu"), hashlib.sha256()
    for case in _step0_cases(folder):
        request = request_of(case, RunOptions(), "cpu")
        request = dataclasses.replace(request, attention="_native_math", t5_attention="eager")
        pixels.update(renderer.render(request).image.tobytes())
    return pixels.hexdigest()[:8]


def _identity(folder: Path) -> dict[str, Any]:
    """Compare the step-0 re-runs with their previews, and diagnose one of them from wrong settings."""
    import numpy as np

    from harness.diagnosis.diagnose import diagnose
    from harness.metrics.codec import Codec
    from harness.metrics.images import load_rgb
    from harness.pipeline.renderer import ReferenceRenderer
    from harness.runs.plan import RunOptions, request_of

    renderer = ReferenceRenderer(device="cpu")
    cases = _step0_cases(folder)
    psnrs = []
    for case in cases:
        image = Codec.of(case.preview_path).apply(
            renderer.render(request_of(case, RunOptions(), "cpu")).image
        )
        error = np.mean((image.astype(float) - load_rgb(case.preview_path)) ** 2)
        psnrs.append(float("inf") if error == 0 else float(10 * np.log10(255**2 / error)))
    eager = cases[0].model_copy(update={"t5_attention": None})
    found = diagnose(eager, options=RunOptions(device="cpu"), renderer=renderer)
    causes = ", ".join(f"{cause.axis} {cause.value}" for cause in found.causes) or "none"
    identical = sum(psnr == float("inf") for psnr in psnrs)
    worst = "" if identical == len(psnrs) else f", {min(psnrs):.1f} dB"
    return {
        "step 0 identical": f"{identical} of {len(psnrs)}{worst}",
        "diagnosis of eager T5": f"{causes}{'' if found.explained else ' (not explained)'}",
        "diagnosis_ok": found.explained,
    }


def _bits() -> dict[str, str]:
    """Return short hashes of tokens, embeddings, one transformer call and a decode; bf16, on the CPU."""
    import numpy as np
    import torch

    from harness.pipeline.attention import set_t5_attention
    from harness.pipeline.checkpoint import find_checkpoint
    from harness.pipeline.load import load_pipeline
    from harness.pipeline.noise import draw
    from harness.schema.base import Base
    from harness.schema.spec import FLEX2

    checkpoint = find_checkpoint(Base(embedded="tiny-flex2-emoji"), FLEX2)
    pipe = load_pipeline(
        checkpoint, FLEX2, code="builtin", dtype="bf16", device="cpu", offload="none", trust_remote_code=False
    ).pipe

    def short(value: Any) -> str:
        data = value.float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()[:8]

    prompts = {
        "English": "a rocket and a star",
        "full-width": "\uff52\uff4f\uff43\uff4b\uff45\uff54",
        "Chinese": "紫色背景上的火箭",
    }
    found = {}
    for name, text in prompts.items():
        found[f"CLIP tokens, {name}"] = short(pipe.tokenizer(text).input_ids)
        found[f"T5 tokens, {name}"] = short(pipe.tokenizer_2(text).input_ids)
    for kind in ("eager", "sdpa"):
        set_t5_attention(pipe.text_encoder_2, kind)
        with torch.inference_mode():
            embeds, pooled, _ = pipe.encode_prompt(prompts["English"], None)
        found[f"T5 embeddings, {kind}"] = short(embeds)
    found["CLIP embedding"] = short(pooled)
    latents = draw((1, 64, 64), 1, torch.bfloat16, "current")
    ids = torch.zeros(64, 3, dtype=torch.bfloat16)
    draws = torch.Generator().manual_seed(2)
    text = torch.randn(1, 512, embeds.shape[2], generator=draws).to(torch.bfloat16)
    pool = torch.randn(pooled.shape, generator=draws).to(torch.bfloat16)
    with torch.inference_mode():
        call = pipe.transformer(
            hidden_states=torch.cat([latents, latents, latents, latents[..., :4]], dim=2),
            timestep=torch.ones(1, dtype=torch.bfloat16), guidance=torch.full([1], 4.0),
            pooled_projections=pool, encoder_hidden_states=text,
            txt_ids=torch.zeros(512, 3, dtype=torch.bfloat16), img_ids=ids, return_dict=False,
        )[0]  # fmt: skip
        decoded = pipe.vae.decode(draw((1, 16, 16, 16), 3, torch.bfloat16, "current"), return_dict=False)[0]
    found["transformer call"], found["decode"] = short(call), short(decoded)
    found["noise, fp32"] = short(torch.randn(4096, generator=torch.Generator().manual_seed(0)))
    return found


def measure(name: str) -> dict[str, Any]:
    """Make the environment ``name``, run ``probe`` in it, and return what it found."""
    with tempfile.TemporaryDirectory(prefix="harness-venv-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        (packages / "outer.pth").write_text(f"{ROOT}\n{sysconfig.get_paths()['purelib']}\n")
        install = [python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed"]
        if PINS[name]:
            subprocess.run([*install, *PINS[name]], check=True)
        missing = subprocess.run([python, "-c", MISSING], check=True, capture_output=True, text=True)
        if libraries := missing.stdout.split():
            subprocess.run([*install, *libraries], check=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [python, "-W", "ignore", __file__, "--here"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Print the table; exit 1 where an environment fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *PINS], help="environments; all where none is given")
    parser.add_argument("--here", action="store_true", help="print this environment's results as JSON")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(probe()))
        return
    found: dict[str, dict[str, Any]] = {}
    columns = (*LIBRARIES, "noise", "T5", "demo", "step 0 identical", "diagnosis of eager T5")
    print("| environment |", " | ".join(columns), "|", flush=True)
    print("|---" * (len(columns) + 1) + "|")
    for name in arguments.names or PINS:
        found[name] = row = measure(name)
        cells = [str(row.get(column, "")) for column in columns]
        print(f"| {name} |", row["failed"] if "failed" in row else " | ".join(cells), "|", flush=True)
    _print_differences({name: row["bits"] for name, row in found.items() if "bits" in row})
    if any("failed" in row or not (row["demo_ok"] and row["diagnosis_ok"]) for row in found.values()):
        sys.exit(1)


def _print_differences(bits: dict[str, dict[str, str]]) -> None:
    same = []
    for subject in next(iter(bits.values()), {}):
        groups: dict[str, list[str]] = {}
        for name, hashes in bits.items():
            groups.setdefault(hashes[subject], []).append(name)
        if len(groups) > 1:
            print(f"{subject}:", " ≠ ".join(" = ".join(names) for names in groups.values()))
        else:
            same.append(subject)
    print("the same in all:", ", ".join(same))


if __name__ == "__main__":
    main()
