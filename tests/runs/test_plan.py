"""From cases and options to requests: what decides a render, and in which order."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CaseError
from harness.runs.plan import RunOptions, default_pipeline, plan, select
from harness.runs.planned import Planned
from harness.schema.base import Base
from harness.schema.case import Case, load_case
from harness.schema.case_parts import Trained
from harness.schema.metric_limits import Tolerance
from harness.schema.render import RenderRequest
from harness.schema.spec import FLEX2
from tests.runs.conftest import MakeCase


def request_of(case: Case, device: str = "cpu", **options: Any) -> RenderRequest:
    (planned,) = plan([case], RunOptions(**options), device)
    assert planned.request is not None
    return planned.request


def test_weights_change_as_rarely_as_they_can(make_case: MakeCase) -> None:
    cases = [
        make_case("a", lora=100),
        make_case("b"),
        make_case("c", lora=200),
        make_case("d", lora=100, size=(64, 96)),
        make_case("e"),
        make_case("f", lora=100, multiplier=0.5),
        make_case("g", lora=100),
        make_case("h", incomparable="pruned"),
    ]
    planned = plan(cases, RunOptions(), "cpu")
    keys = [item.request.weights_key if item.request else None for item in planned]
    changes = sum(one != two for one, two in itertools.pairwise(keys))
    assert changes == len(set(keys)) - 1 == 4
    assert planned[-1].request is None
    names = [item.case.id[-1] for item in planned]
    assert sorted(names) == list("abcdefgh")
    assert names.index("g") == names.index("a") + 1, "equal sizes belong together"


def test_the_order_does_not_depend_on_the_order_given(make_case: MakeCase) -> None:
    cases = [make_case("a", lora=100), make_case("b"), make_case("c", lora=200), make_case("d", lora=100)]
    ids = [item.case.id for item in plan(cases, RunOptions(), "cpu")]
    assert [item.case.id for item in plan(cases[::-1], RunOptions(), "cpu")] == ids


def test_the_request_is_the_case(make_case: MakeCase) -> None:
    settings = {"neg": "blurry", "seed": 9, "sample_steps": 7, "guidance_scale": 2.5}
    case = make_case("a", lora=200, multiplier=0.7, asked=(70, 90), settings=settings)
    request = request_of(case)
    assert (request.prompt, request.neg, request.seed) == ("a large rocket", "blurry", 9)
    assert (request.width, request.height, request.sample_steps) == (70, 90, 7)
    assert request.guidance_scale == 2.5
    assert request.lora is not None
    assert request.lora.file == case.lora_path
    assert (request.lora.sha256, request.lora.network_multiplier) == (case.lora.sha256, 0.7)  # type: ignore[union-attr]
    assert (request.base, request.pipeline) == (Base(embedded="tiny-flex2-emoji"), "builtin")


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16"), ("float16", "fp16"),
        ("fp32", "fp32"), ("float32", "fp32"), ("float", "fp32"), ("float8", None), (None, None),
    ],
)  # fmt: skip
def test_the_dtype_rule(make_case: MakeCase, recorded: str | None, expected: str | None) -> None:
    case = make_case("a", trained=Trained(dtype=recorded))
    assert request_of(case, "cpu").dtype == expected
    assert request_of(case, "cuda").dtype is None
    assert request_of(case, "cpu", dtype="fp16").dtype == "fp16"
    assert request_of(case, "cuda", dtype="fp16").dtype == "fp16"


@pytest.mark.parametrize(
    ("base", "code"),
    [(Base(repo="a/b"), "hub"), (Base(embedded="tiny-flex2-emoji"), "builtin"), (Base(path="x"), "builtin")],
)
def test_the_default_pipeline(make_case: MakeCase, base: Base, code: str) -> None:
    assert default_pipeline(base, FLEX2) == code
    case = make_case("a", base=base)
    assert request_of(case).pipeline == code
    for chosen in ("hub", "builtin"):
        assert request_of(case, pipeline=chosen).pipeline == chosen
        own = make_case("b", base=base, pipeline=chosen)
        assert request_of(own).pipeline == chosen
        assert request_of(own, pipeline="hub").pipeline == "hub"


def test_another_base_brings_its_own_default_pipeline(make_case: MakeCase) -> None:
    request = request_of(make_case("a"), base=Base(repo="a/b", revision="c"))
    assert (request.base, request.pipeline) == (Base(repo="a/b", revision="c"), "hub")


def test_a_relative_base_is_relative_to_the_case_file(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_case("a", base=Base(path="../base"))
    monkeypatch.chdir(tmp_path.parent)
    case = load_case(tmp_path / "cases" / "a.case.yaml")
    assert request_of(case).base == Base(path=str(tmp_path / "base"))


def test_what_cannot_be_rerun_has_no_request(make_case: MakeCase) -> None:
    (planned,) = plan([make_case("a", incomparable="pruned")], RunOptions(), "cpu")
    assert planned.request is None


def test_select(make_case: MakeCase) -> None:
    cases = [make_case(name) for name in ("a1", "a2", "b1", "b2")]

    def ids(only: str | None, limit: int | None) -> list[str]:
        return [case.id.removeprefix("small/") for case in select(cases, only, limit)]

    assert ids(None, None) == ["a1", "a2", "b1", "b2"]
    assert ids(None, 3) == ["a1", "a2", "b1"]
    assert ids("*1", None) == ["a1", "b1"]
    assert ids("small/b?", 1) == ["b1"]
    assert ids("small/a2", 9) == ["a2"]


def test_selecting_nothing_says_what_ids_look_like(make_case: MakeCase) -> None:
    with pytest.raises(CaseError, match=r"--only: no case matches 'x\*'; ids look like 'small/a'"):
        select([make_case("a")], "x*", None)
    with pytest.raises(CaseError, match="no case is selected"):
        select([], None, 1)


def key(case: Case, **options: Any) -> str:
    return plan([case], RunOptions(**options), "cpu")[0].key


def test_the_key_sees_whatever_decides_the_render(make_case: MakeCase) -> None:
    case = make_case("a", lora=100)
    (planned,) = plan([case], RunOptions(), "cpu")
    request = planned.request
    assert request is not None
    assert request.lora is not None
    others = [
        Planned(case, dataclasses.replace(request, **{field.name: to}))
        for field in dataclasses.fields(RenderRequest)
        for to in [{"base": Base(path="/x"), "lora": None}.get(field.name, "another")]
    ]
    others.append(
        Planned(case, dataclasses.replace(request, lora=dataclasses.replace(request.lora, sha256="2" * 64)))
    )
    others.append(
        Planned(
            case, dataclasses.replace(request, lora=dataclasses.replace(request.lora, network_multiplier=0.5))
        )
    )
    others.append(Planned(make_case("b", lora=100, size=(64, 96)), request))
    keys = {planned.key, *(other.key for other in others)}
    assert len(keys) == len(others) + 1


def test_the_key_does_not_see_where_the_lora_lies_nor_the_tolerance(make_case: MakeCase) -> None:
    case = make_case("a", lora=100)
    before = key(case)
    (planned,) = plan([case], RunOptions(), "cpu")
    assert planned.request is not None
    assert planned.request.lora is not None
    moved = dataclasses.replace(planned.request.lora, file=Path("/elsewhere.safetensors"))
    assert Planned(case, dataclasses.replace(planned.request, lora=moved)).key == before
    limits = Tolerance(ssim_min=0.1, lpips_max=1, source="test")
    assert key(case, tolerance=limits) == key(make_case("a", lora=100, tolerance=limits)) == before
