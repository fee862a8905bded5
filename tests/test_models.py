"""A model is one object: Flex.1 through the whole harness, and a third that only its spec knows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

from harness.comparison.exports.diffusers_script import diffusers_script
from harness.comparison.exports.export import export_case
from harness.diagnosis.diagnose import diagnose
from harness.errors import CheckpointError, HarnessError
from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.runs.run import run_cases
from harness.schema.base import Base
from harness.schema.case import Case, load_cases
from harness.schema.render import Dialect
from harness.schema.result import Verdict
from harness.schema.spec import MODELS, Defaults
from harness.sweeps.grid import parse_axis, product
from harness.sweeps.sweep import sweep_cases
from harness.systems.comfy_graph import api_graph
from tests.flex1_job import job_config, make_checkpoint, make_job

HARNESS = Path(__file__).parents[1] / "harness"
ON_CPU = RunOptions(device="cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("flex1") / "base")


@pytest.fixture(scope="module")
def job(base: Path, jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    lora = jobs["inkprint"] / "emoji_inkprint_000000100.safetensors"
    return make_job(tmp_path_factory.mktemp("job") / "job", base, lora)


@pytest.fixture(scope="module")
def cases(job: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    out = tmp_path_factory.mktemp("imported") / "cases"
    import_job(job, out=out)
    return load_cases([out])


@pytest.fixture(scope="module")
def renderer() -> ReferenceRenderer:
    return ReferenceRenderer(device="cpu")


@pytest.fixture(autouse=True)
def without_flex2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever these tests do, nothing imports the pipeline of Flex.2."""
    monkeypatch.setitem(sys.modules, "harness.pipeline.flex2", None)


def test_no_module_but_the_spec_names_a_model() -> None:
    naming = [
        file.relative_to(HARNESS).as_posix()
        for file in HARNESS.rglob("*.py")
        if any(name in file.read_text() for name in ("FLEX2", "FLEX1", '"flex2"', '"flex1"'))
    ]
    assert naming == ["schema/spec.py"]


def test_a_flex1_job_imports_and_reruns_bit_for_bit(
    cases: list[Case], renderer: ReferenceRenderer, tmp_path: Path
) -> None:
    assert {(case.model, case.trained.arch, case.incomparable) for case in cases} == {
        ("flex1", "flex1", None)
    }
    result = run_cases(cases, out=tmp_path / "run", options=ON_CPU, renderer=renderer)
    assert [row.verdict for row in result.rows] == [Verdict.MATCH] * 4
    rendered = [row.rendered for row in result.rows if row.rendered is not None]
    assert {(each.width, each.height) for each in rendered} == {(80, 64), (64, 64)}
    identical = [row.pixels.identical for row in result.rows if row.pixels is not None]
    assert identical == [True] * 4


def test_a_flex1_job_sweeps(cases: list[Case], renderer: ReferenceRenderer, tmp_path: Path) -> None:
    variants = product([parse_axis("shift=1,7")]) + product([parse_axis("scheduler=UniPC")])
    result = sweep_cases(cases[:1], variants, out=tmp_path / "run", options=ON_CPU, renderer=renderer)
    assert len(result.rows) == 4
    assert sum("same render" in row.reason for row in result.rows) == 2, "a static shift does nothing"


def test_a_flex1_job_diagnoses(cases: list[Case], renderer: ReferenceRenderer) -> None:
    case = next(case for case in cases if case.lora is not None and case.preview.width == 64)
    wrong = case.settings.model_copy(update={"guidance_scale": 2.0})
    altered = case.model_copy(update={"settings": wrong})
    found = diagnose(altered, renderer=renderer, options=ON_CPU)
    assert (found.causes[0].axis, found.causes[0].value) == ("guidance_scale", 4.0)
    assert found.explained
    assert "from diffusers import FluxPipeline" in found.recipe


def test_a_workflow_needs_no_node_of_flex2(cases: list[Case], tmp_path: Path) -> None:
    written = export_case(cases[0], "comfy", tmp_path / "out")
    assert [path.name for path in written] == ["workflow.json", "workflow_api.json", "README.txt"]
    graph = api_graph(request_of(cases[0], ON_CPU, "cpu"), "image")
    kinds = [node["class_type"] for node in graph.values()]
    assert "FluxGuidance" in kinds
    assert not [kind for kind in kinds if kind.startswith("Flex2")]


def test_what_is_exported_is_the_stock_pipeline_with_its_own_scheduler(cases: list[Case]) -> None:
    script = diffusers_script(cases[0])
    compile(script, "script.py", "exec")
    assert "pipe = FluxPipeline.from_pretrained(" in script
    assert "scheduler" not in script
    assert "trust_remote_code" not in script


def test_the_bases_own_scheduler_is_kept_and_told(
    cases: list[Case], base: Path, renderer: ReferenceRenderer, tmp_path: Path
) -> None:
    own = tmp_path / "base"
    own.mkdir()
    for part in base.iterdir():
        if part.name != "scheduler":
            (own / part.name).symlink_to(part)
    (own / "scheduler").mkdir()
    text = (base / "scheduler" / "scheduler_config.json").read_text()
    (own / "scheduler" / "scheduler_config.json").write_text(
        text.replace('"max_shift": 1.15', '"max_shift": 2.0')
    )
    request = dataclasses.replace(request_of(cases[0], ON_CPU, "cpu"), sample_steps=2)
    plain = renderer.render(request)
    made = renderer.render(dataclasses.replace(request, base=Base(path=str(own))))
    assert made.warnings == ("the base's own scheduler has max_shift 2.0 (Flex.1-alpha has 1.15)",)
    assert made.rendered.sigmas != plain.rendered.sigmas


def test_a_base_of_another_shape_is_refused(cases: list[Case], renderer: ReferenceRenderer) -> None:
    request = request_of(cases[0], ON_CPU, "cpu")
    with pytest.raises(CheckpointError, match="in_channels: found 196, flex1 has 64"):
        renderer.render(dataclasses.replace(request, base=Base(embedded="tiny-flex2-emoji")))
    with pytest.raises(CheckpointError, match="in_channels: found 64, flex2 has 196"):
        renderer.render(dataclasses.replace(request, model="flex2"))


def test_a_model_without_conditions_has_no_blanks(cases: list[Case], renderer: ReferenceRenderer) -> None:
    request = dataclasses.replace(request_of(cases[0], ON_CPU, "cpu"), dialect=Dialect(blanks="flextools"))
    with pytest.raises(HarnessError, match=r"blanks: Flex\.1-alpha has none"):
        renderer.render(request)


@pytest.mark.parametrize(
    ("model", "sample", "said"),
    [
        ({}, {"sampler": "euler"}, "sample.sampler is 'euler'"),
        ({}, {"sampler": None}, "sample.sampler is 'ddpm'"),
        ({"attn_masking": True}, {}, "model.attn_masking sets the padding"),
        ({"use_flux_cfg": True}, {}, "model.use_flux_cfg made a second pass"),
        ({"inference_lora_path": "a/b"}, {}, "model.inference_lora_path was active in previews"),
        ({"lora_path": "a/b"}, {}, "model.lora_path was merged"),
        ({"vae_path": "a/b"}, {}, "model.vae_path decoded the previews"),
        ({"arch": "flux", "name_or_path": "black-forest-labs/FLUX.1-dev"}, {}, None),
        ({"arch": "flux", "name_or_path": "ostris/Flex.2-preview"}, {}, None),
        ({"arch": None, "is_flux": True, "name_or_path": "ostris/Flex.1-alpha"}, {}, ""),
        ({"arch": "flex1:24gb", "assistant_lora_path": "a/b"}, {}, ""),
    ],
)
def test_what_the_trainer_honours_for_flex1(
    job: Path,
    base: Path,
    tmp_path: Path,
    model: dict[str, object],
    sample: dict[str, object],
    said: str | None,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(job_config(base, model=model, **sample)))
    if said is None:
        with pytest.raises(HarnessError, match=r"'flux' is not flex2 or flex1; only Flex\.2 and"):
            import_job(job, out=tmp_path / "cases", config=config)
        return
    result = import_job(job, out=tmp_path / "cases", config=config, base=Base(path=str(base)))
    reasons = {case.incomparable for case in result.cases}
    assert all(said in (reason or "") for reason in reasons)
    assert (reasons == {None}) is (said == "")
    noted = any("assistant_lora_path was merged for training" in line for line in result.assumptions)
    assert noted is ("assistant_lora_path" in model)


def test_a_third_model_takes_one_spec(
    job: Path, base: Path, renderer: ReferenceRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = dataclasses.replace(
        MODELS["flex1"], name="made-up", label="Made Up 3", hub_repo="nobody/made-up", divisor=64,
        defaults=Defaults(sample_steps=2),
    )  # fmt: skip
    monkeypatch.setitem(MODELS, third.name, third)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(job_config(base, model={"arch": "made-up"})))
    import_job(job, out=tmp_path / "cases", config=config, steps="0")
    wide, narrow = load_cases([tmp_path / "cases"])
    result = run_cases([wide, narrow], out=tmp_path / "run", options=ON_CPU, renderer=renderer)
    assert {row.verdict for row in result.rows} == {Verdict.INCOMPARABLE, Verdict.MATCH}
    assert "the reference to multiples of 64 (64×64)" in result.rows[0].reason
    assert diagnose(narrow, renderer=renderer, options=ON_CPU).explained
    silent = narrow.model_dump(exclude={"settings": {"sample_steps"}}, exclude_none=True)
    assert Case.model_validate(silent, strict=False).settings.sample_steps == 2


def test_an_unknown_model_is_one_line(cases: list[Case]) -> None:
    with pytest.raises(ValueError, match="'flex9' is no model; choose flex2 or flex1"):
        Case.model_validate({**cases[0].model_dump(exclude_none=True), "model": "flex9"}, strict=False)
