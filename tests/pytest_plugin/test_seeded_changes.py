"""The verdict after each kind of change, as a table: a change is made, the accepted cases run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.runs.environment import environment
from harness.schema.result import Row, Verdict
from tests.pytest_plugin.tiny_project import CASES, only_run, output, rows

Change = Callable[[pytest.MonkeyPatch, Path], None]


@pytest.fixture(scope="module", autouse=True)
def kept_renderer() -> None:
    """Every session loads its own base: a change may take effect while it loads."""


def nothing(patch: pytest.MonkeyPatch, project: Path) -> None:
    pass


def scheduler(patch: pytest.MonkeyPatch, project: Path) -> None:
    """Somebody patches diffusers' scheduler: its sigmas bend."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    original = FlowMatchEulerDiscreteScheduler.time_shift
    patch.setattr(
        FlowMatchEulerDiscreteScheduler,
        "time_shift",
        lambda self, mu, sigma, t: original(self, mu + 0.6, sigma, t),
    )


def attention(patch: pytest.MonkeyPatch, project: Path) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    patch.setattr(_AttentionBackendRegistry, "_active_backend", AttentionBackendName._NATIVE_MATH)


def decoder(patch: pytest.MonkeyPatch, project: Path) -> None:
    """The autoencoder decodes a shade darker; denoising is untouched."""
    from diffusers import AutoencoderKL

    original = AutoencoderKL.decode
    patch.setattr(
        AutoencoderKL, "decode", lambda self, *args, **kwargs: (original(self, *args, **kwargs)[0] * 0.99,)
    )


def threads(patch: pytest.MonkeyPatch, project: Path) -> None:
    import torch

    torch.set_num_threads(2)


def lora(patch: pytest.MonkeyPatch, project: Path) -> None:
    """The LoRA file is edited, and the case file still has the old hash."""
    file = next((project / CASES).glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-2] ^= 0x40
    file.write_bytes(data)


def lora_imported_again(patch: pytest.MonkeyPatch, project: Path) -> None:
    """The LoRA file is edited, and the case file says so."""
    from harness._util.atomic_files import sha256_file

    file = next((project / CASES).glob("*.safetensors"))
    before = sha256_file(file)
    lora(patch, project)
    _edit(project, before, sha256_file(file))


def legacy_noise(patch: pytest.MonkeyPatch, project: Path) -> None:
    """The first latents come from the other era: another picture."""
    _edit(project, "noise: auto", "noise: legacy")


def settings(patch: pytest.MonkeyPatch, project: Path) -> None:
    _edit(project, "guidance_scale: 3.0", "guidance_scale: 5.0")


def _edit(project: Path, before: str, after: str) -> None:
    case = project / CASES / "lora_0.case.yaml"
    text = case.read_text()
    assert before in text
    case.write_text(text.replace(before, after))


TABLE: list[tuple[Change, Verdict, str]] = [
    (nothing, Verdict.MATCH, "bit-equal to its baseline"),
    (scheduler, Verdict.REGRESSION, "sigmas_sha256"),
    (attention, Verdict.MATCH, "attention native → _native_math"),
    (decoder, Verdict.MATCH, "the latents are the accepted ones, the decoded image is not"),
    (threads, Verdict.MATCH, ""),
    (lora, Verdict.ERROR, "hashes to"),
    (lora_imported_again, Verdict.INCOMPARABLE, "the case is not the accepted one: lora "),
    (settings, Verdict.DRIFT, "the case is not the accepted one: guidance_scale 3.0 → 5.0"),
    (legacy_noise, Verdict.REGRESSION, "noise current → legacy"),
]


@pytest.fixture
def with_lora(accept: Callable[..., Path]) -> Path:
    return accept("lora_0")


@pytest.mark.parametrize(("change", "verdict", "said"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_verdict_after(
    with_lora: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    verdict: Verdict,
    said: str,
) -> None:
    import torch

    if change is attention and environment("cpu")["cpu_bf16"] == "amx_bf16":
        verdict = Verdict.REGRESSION  # there it takes 10 dB of a picture that was identical; the margin is 9
    before = torch.get_num_threads()
    try:
        change(monkeypatch, with_lora)
        result = pytester.runpytest_inprocess(f"{CASES}/lora_0.case.yaml", "--no-harness-report")
    finally:
        torch.set_num_threads(before)
    row = rows(only_run(with_lora))["tiny/lora_0"]
    assert (row.verdict, said in row.reason) == (verdict, True), row.reason
    assert row.environment["threads"] == (2 if change is threads else before)
    assert result.ret == (0 if verdict is Verdict.MATCH else 1), output(result)
    _never_silent(row, output(result))


def _never_silent(row: Row, said: str) -> None:
    """An image that changed is not called equal, and the other way round."""
    if row.verdict is Verdict.MATCH:
        assert row.baseline is not None
        assert row.reason.startswith("bit-equal" if row.baseline.identical else "match (changed)")
    assert ("changed within limits: tiny/lora_0" in said) == row.reason.startswith("match (changed)")
