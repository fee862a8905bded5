"""Case files: strict, relative, hashed, and the same after a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.schema.base import Base
from harness.schema.case import Case, load_case
from tests.schema.case_files import contents, refused, written


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prewiev": {}}, "prewiev: unknown key; did you mean 'preview'?"),
        ({"settings__widht": 64}, "settings.widht: unknown key; did you mean 'width'?"),
        ({"lora__multiplier": 1.0}, "lora.multiplier: unknown key; did you mean 'network_multiplier'?"),
        ({"trained__quantise": True}, "trained.quantise: unknown key; did you mean 'quantize'?"),
        ({"tolerance": {"ssim": 1, "lpips_max": 1, "source": "x"}}, "tolerance.ssim"),
        ({"settings__zzz": 1}, "settings.zzz: unknown key; known keys: prompt, neg, width"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings__width": "64"}, "settings.width: Input should be a valid integer, found '64'"),
        ({"settings__seed": 1.0}, "settings.seed: Input should be a valid integer, found 1.0"),
        ({"settings__prompt": False}, "settings.prompt: Input should be a valid string, found False"),
        ({"lora__network_multiplier": True}, "lora.network_multiplier: Input should be a valid number"),
        ({"trained__quantize": "yes"}, "trained.quantize: Input should be a valid boolean, found 'yes'"),
        ({"model": "flux"}, "model: 'flux' is no model; choose flex2 or flex1"),
        ({"preview": 3}, "preview: Input should be a mapping"),
        ({"preview__sha256": "0" * 63}, "preview.sha256: String should match"),
        ({"preview__width": 0}, "preview.width: Input should be greater than 0, found 0"),
        ({"assumptions": "none"}, "assumptions: Input should be a valid list"),
        ({"incomparable": ""}, "incomparable: String should have at least 1 character"),
        ({"tolerance": {"ssim_min": 1.5, "lpips_max": 0, "source": "x"}}, "tolerance.ssim_min"),
        ({"settings__guidance_scale": float("nan")}, "settings.guidance_scale"),
        ({"tolerance": {"ssim_min": 0.5, "lpips_max": float("inf"), "source": "x"}}, "tolerance.lpips_max"),
    ],
)
def test_a_wrong_type_is_never_converted(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refused(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings__width": 63}, "settings.width: 63 is outside the reference's range 64 to 4096"),
        ({"settings__height": 4097}, "settings.height: 4097 is outside"),
        ({"settings__sample_steps": 0}, "settings.sample_steps: 0 is outside the reference's range 1 to 150"),
        ({"settings__sample_steps": 151}, "settings.sample_steps: 151 is outside"),
        ({"settings__guidance_scale": 20.1}, "settings.guidance_scale: 20.1 is outside"),
        ({"lora__network_multiplier": 2.1}, "lora.network_multiplier: 2.1 is outside"),
        ({"settings__seed": -1}, "settings.seed: -1 (random) cannot be re-run"),
        ({"settings__seed": -2}, "settings.seed: Input should be greater than or equal to -1"),
    ],
)
def test_limits(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refused(written(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"settings__width": 64, "settings__height": 4096},
        {"settings__sample_steps": 150, "settings__guidance_scale": 20},
        {"settings__guidance_scale": 0, "lora__network_multiplier": -2},
    ],
)
def test_the_limits_themselves_are_inside(tmp_path: Path, changes: dict[str, Any]) -> None:
    load_case(written(tmp_path, **changes))


def test_a_case_that_is_not_rerun_may_lie_outside_the_limits(tmp_path: Path) -> None:
    path = written(tmp_path, settings__seed=-1, settings__width=8, incomparable="the seed is random")
    assert load_case(path).incomparable == "the seed is random"


@pytest.mark.parametrize(
    "place", [{"preview__file": "a\0"}, {"lora__file": "a\0"}, {"base": {"path": "a\0"}}]
)
def test_a_path_holds_no_nul(tmp_path: Path, place: dict[str, Any]) -> None:
    assert "a path holds no NUL character" in refused(written(tmp_path, **place))


@pytest.mark.parametrize("field", ["preview__file", "lora__file"])
@pytest.mark.parametrize("inner", ["/etc/passwd", "../a.jpg", "previews/../../a.jpg", ".."])
def test_a_path_never_leaves_the_folder(tmp_path: Path, field: str, inner: str) -> None:
    assert "must stay inside the case file's folder" in refused(written(tmp_path, **{field: inner}))


@pytest.mark.parametrize(
    "bad", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "-rf", "a/-b", "a\nb", "a*"]
)
def test_an_id_is_safe_as_a_path(tmp_path: Path, bad: str) -> None:
    refused(written(tmp_path, id=bad))


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({}, "give exactly one of repo, path, embedded"),
        ({"repo": "a/b", "path": "c"}, "give exactly one of repo, path, embedded"),
        ({"repo": "a/b", "path": "c", "embedded": "d"}, "give exactly one of repo, path, embedded"),
        ({"path": "c", "revision": "main"}, "revision goes with repo"),
    ],
)
def test_a_base_has_exactly_one_source(tmp_path: Path, base: dict[str, str], said: str) -> None:
    assert f"base: {said}" in refused(written(tmp_path, base=base))


@pytest.mark.parametrize(
    "base", [Base(repo="a/b", revision="c"), Base(repo="a/b"), Base(embedded="tiny-flex2-emoji")]
)
def test_a_base_reads_what_it_prints(base: Base) -> None:
    assert Base.parse(str(base)) == base


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; see harness schema, or remove it and import again"),
        ("[]", "holds list, not a mapping"),
        ("a: [1", "is not valid YAML"),
        ("a: !!python/name:os.system", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("a: &a [*a]", "is not valid YAML"),
    ],
)
def test_text_that_is_no_case(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.case.yaml"
    path.write_text(text)
    assert said in refused(path)


def test_bytes_that_are_no_text_and_a_file_that_is_absent(tmp_path: Path) -> None:
    (tmp_path / "a.case.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    assert "not UTF-8 text" in refused(tmp_path / "a.case.yaml")
    assert "cannot be read" in refused(tmp_path / "none.case.yaml")


def test_a_case_is_frozen() -> None:
    case = Case.model_validate(contents())
    with pytest.raises(ValidationError):
        case.id = "other"  # type: ignore[misc]
