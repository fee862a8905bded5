"""The plugin's command-line options, and the ini options that apply where they are silent."""

from __future__ import annotations

import argparse
from typing import Literal

import pytest

INI: tuple[tuple[str, Literal["string", "bool"], object, str], ...] = (
    ("harness_results", "string", "reports", "Folder that holds run folders."),
    ("harness_baselines", "string", "baselines", "Folder of baselines."),
    ("harness_cases", "string", "cases", "Folder of cases."),
    ("harness_tolerance", "string", "", "Limits, or a file of harness calibrate, for cases that set none."),
    ("harness_pipeline", "string", "", "Pipeline code, hub or builtin, for cases that name none."),
    ("harness_trust_remote_code", "bool", False, "Let checkpoints' own pipeline.py run."),
)
"""Name, type, default and help; paths are relative to pytest's rootdir."""


def add_options(parser: pytest.Parser) -> None:
    """Add the group ``harness`` to pytest's options, and the ini options."""
    group = parser.getgroup("harness", "Flex.2 preview cases (*.case.yaml)")
    group.addoption(
        "--gpu", action="store_true", help="Render on the GPU; without it only embedded bases are rendered."
    )
    group.addoption(
        "--harness-results",
        metavar="DIR",
        help="Run folder for rows, images and report; new, empty, or of a killed session, which goes on.",
    )
    group.addoption(
        "--harness-report",
        action="store_true",
        default=True,
        help="Build the HTML report at the end (default).",
    )
    group.addoption(
        "--no-harness-report", action="store_false", dest="harness_report", help="Build no HTML report."
    )
    group.addoption(
        "--no-harness-latents",
        action="store_false",
        dest="harness_latents",
        default=True,
        help="Keep no latents beside images and baselines.",
    )
    group.addoption(
        "--harness-sweep",
        metavar="PRESET",
        help="Render each case's variants too (shift, scheduler, numerics, all); they decide nothing.",
    )
    group.addoption(
        "--harness-neighbours",
        action="store_true",
        help="Render previews without their checkpoint with the saved ones around it; one that lies between "
        "them is an expected failure.",
    )
    group.addoption(
        "--harness-tolerance",
        metavar="LIMITS",
        help="Limits for every case: 'ssim=0.98,lpips=0.03,psnr=38', or a file written by harness calibrate.",
    )
    group.addoption(
        "--harness-metrics",
        metavar="NAMES",
        help="Measure flip, ssimulacra2, jod or all of them too, separated by commas.",
    )
    group.addoption(
        "--harness-update-baselines",
        "--update-baselines",
        action="store_true",
        help="Accept what this run renders as the new baselines.",
    )
    group.addoption(
        "--harness-update-baselines-new-only",
        "--update-baselines-new-only",
        action="store_true",
        help="Accept only where a case has no baseline for this machine yet.",
    )
    group.addoption(
        "--harness-reason", metavar="TEXT", help="Why baselines are updated; kept in the baseline file."
    )
    group.addoption("--harness-baselines", metavar="DIR", help="Folder of baselines (default: baselines).")
    group.addoption(
        "--harness-unused-baselines",
        choices=("warn", "fail"),
        default="warn",
        help="What to do about baselines whose case is gone (default: warn).",
    )
    group.addoption("--harness-server", metavar="URL", help="Render every case by a reference server.")
    group.addoption(
        "--harness-server-root", metavar="DIR", help="Where that server's file system is mounted here."
    )
    group.addoption(
        "--harness-server-header",
        metavar="NAME=VARIABLE",
        action="append",
        help="Send the header NAME with the value of an environment variable.",
    )
    group.addoption("--harness-comfy", metavar="URL", help="Render every case by a running ComfyUI.")
    group.addoption(
        "--harness-comfy-file",
        metavar="NAME=FILE",
        action="append",
        help="Give the input NAME of ComfyUI's loaders the file FILE there.",
    )
    group.addoption(
        "--harness-against-reference",
        action="store_true",
        help="Score the server's images against our own renders too: does the server drift, or the settings?",
    )
    group.addoption("--harness-base", metavar="REPO_OR_DIR", help="Base checkpoint for every case.")
    group.addoption("--harness-pipeline", choices=("hub", "builtin"), help="Pipeline code for every case.")
    group.addoption(
        "--harness-dtype", choices=("bf16", "fp16", "fp32"), help="Floating-point type to render in."
    )
    group.addoption(
        "--harness-trust-remote-code",
        action="store_true",
        help="Let the checkpoint's own pipeline.py run. Read it first.",
    )
    group.addoption(
        "--harness-engine",
        choices=("auto", "eager", "exact"),
        default="auto",
        help="How the transformer is called: exact is fast and proved bit-equal to eager (default on CUDA).",
    )
    group.addoption(
        "--harness-score-workers",
        type=_workers,
        metavar="N",
        help="Processes that score while the next N cases render, at most one for each core "
        "(default: up to 4 on CUDA, 0 on the CPU).",
    )
    for name, kind, default, said in INI:
        parser.addini(name, said, type=kind, default=default)


def _workers(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, give 0 or more")
    return int(text)
