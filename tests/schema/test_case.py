"""Case files: strict, relative, hashed, and the same after a round trip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness._util.atomic_files import sha256_file
from harness.errors import CaseError
from harness.schema.case import Base, Case, load_case, load_cases, save_case

YAML_WORDS = ["no", "yes", "null", "~", "1e3", "0x1F", "1_000", "12:30", "2024-01-01", "", " ", "- a", "a: b"]


def contents(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "job/000000010_0",
        "base": {"embedded": "tiny-flex2-emoji"},
        "preview": {"file": "previews/a.jpg", "sha256": "0" * 64, "width": 64, "height": 96, "step": 10},
        "lora": {"file": "loras/a.safetensors", "sha256": "1" * 64, "network_multiplier": 0.7},
        "settings": {"prompt": "a cat", "width": 64, "height": 96, "seed": 3},
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = fields
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return fields


def written(folder: Path, name: str = "a.case.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(contents(**changes)))
    return path


def refused(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        load_case(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line


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
        ({"model": "flux"}, "model: Input should be 'flex2', found 'flux'"),
        ({"preview": 3}, "preview: Input should be a valid dictionary"),
        ({"preview__sha256": "0" * 63}, "preview.sha256: String should match"),
        ({"preview__width": 0}, "preview.width: Input should be greater than 0, found 0"),
        ({"assumptions": "none"}, "assumptions: Input should be a valid list"),
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
        ("", "is empty; see cases/case.schema.json, or import again"),
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


prompts = (
    st.sampled_from(YAML_WORDS)
    | st.text(max_size=60)
    | st.text("\r\n\t\x85\u2028\ufeff\\\"'#:{%a ", max_size=20)
)


@given(
    prompt=prompts,
    neg=prompts,
    seed=st.integers(0, 2**64 - 1),
    guidance=st.floats(0, 20),
    multiplier=st.floats(-2, 2),
    assumptions=st.lists(prompts, max_size=3),
    step=st.none() | st.integers(0, 10**9),
)
def test_round_trip_without_loss(
    tmp_path_factory: pytest.TempPathFactory,
    prompt: str,
    neg: str,
    seed: int,
    guidance: float,
    multiplier: float,
    assumptions: list[str],
    step: int | None,
) -> None:
    case = Case.model_validate(
        contents(
            settings={"prompt": prompt, "neg": neg, "seed": seed, "guidance_scale": guidance},
            lora__network_multiplier=multiplier,
            assumptions=assumptions,
            preview__step=step,
        )
    )
    path = tmp_path_factory.getbasetemp() / "round trip" / "a.case.yaml"
    save_case(case, path)
    again = load_case(path)
    assert again.model_dump() == case.model_dump()
    before = path.read_bytes()
    save_case(again, path)
    assert path.read_bytes() == before


def test_the_schema_line_is_a_comment_for_editors(tmp_path: Path) -> None:
    case = save_case(Case.model_validate(contents()), tmp_path / "a.case.yaml", schema="../case.schema.json")
    first, rest = (tmp_path / "a.case.yaml").read_text().split("\n", 1)
    assert first == "# yaml-language-server: $schema=../case.schema.json"
    assert rest.startswith("id: job/000000010_0\n")
    assert load_case(tmp_path / "a.case.yaml").model_dump() == case.model_dump()


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    for _ in range(2):
        save_case(Case.model_validate(contents()), tmp_path / "a.case.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["a.case.yaml"]


def test_two_files_of_one_id(tmp_path: Path) -> None:
    one, two = written(tmp_path), written(tmp_path, "b.case.yaml")
    with pytest.raises(CaseError, match=f"{two}: id: 'job/000000010_0' is also the id of {one}"):
        load_cases([tmp_path])


def test_the_same_file_twice_is_one_case(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert len(load_cases([path, tmp_path, path])) == 1


def test_folders_are_searched_and_cases_sorted(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    written(tmp_path, "z.case.yaml", id="a/1")
    written(tmp_path / "b", id="a/0")
    (tmp_path / "notes.yaml").write_text("not: a case")
    assert [case.id for case in load_cases([tmp_path])] == ["a/0", "a/1"]


def test_a_folder_without_cases(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"holds no \*\.case\.yaml; make some with: harness import"):
        load_cases([tmp_path])


@pytest.fixture
def stored(tmp_path: Path) -> Case:
    for name in ("previews/a.jpg", "loras/a.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    return load_case(
        written(
            tmp_path,
            preview__sha256=sha256_file(tmp_path / "previews/a.jpg"),
            lora__sha256=sha256_file(tmp_path / "loras/a.safetensors"),
        )
    )


def test_files_as_recorded_pass(stored: Case) -> None:
    stored.verify()


CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "preview changed": (
        "previews/a.jpg",
        lambda path: path.write_text("x"),
        r"preview\.sha256: .* hashes to ",
    ),
    "preview gone": ("previews/a.jpg", Path.unlink, r"preview\.file: .*a\.jpg does not exist; import again"),
    "lora changed": (
        "loras/a.safetensors",
        lambda path: path.write_text("x"),
        r"lora\.sha256: .* hashes to ",
    ),
    "lora gone": ("loras/a.safetensors", Path.unlink, r"lora\.file: .*a\.safetensors does not exist"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_changed_since(stored: Case, name: str) -> None:
    file, change, said = CHANGES[name]
    change(stored.folder / file)
    with pytest.raises(CaseError, match=rf"a\.case\.yaml: {said}") as caught:
        stored.verify()
    assert "\n" not in str(caught.value)


def test_a_case_in_memory_has_no_files() -> None:
    with pytest.raises(CaseError, match="made in memory"):
        Case.model_validate(contents()).verify()


def test_a_case_is_frozen() -> None:
    case = Case.model_validate(contents())
    with pytest.raises(ValidationError):
        case.id = "other"  # type: ignore[misc]
