from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._util.atomic_files import sha256_file
from harness.errors import CaseError
from harness.schema.case import Case, load_case, load_cases, save_case
from harness.schema.case_text import CaseTexts
from tests.schema.case_files import contents, written

YAML_WORDS = ["no", "yes", "null", "~", "1e3", "0x1F", "1_000", "12:30", "2024-01-01", "", " ", "- a", "a: b"]
TEXTS = CaseTexts()

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
    assert TEXTS.of(case) == before


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
    "lora gone": (
        "loras/a.safetensors",
        Path.unlink,
        r"lora\.file: .*a\.safetensors does not exist; put the file of SHA-256 [0-9a-f]{12}… there, or",
    ),
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
