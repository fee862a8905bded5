"""The kernel of T5's attention, where a case does not say it: proved by a preview, or left as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import plan
from harness.runs.planned import Planned
from harness.runs.run import run_cases
from harness.runs.t5_kernel import PROOF, REPEAT, T5Kernels
from harness.schema.case import Case, save_case
from harness.schema.case_parts import Preview
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.versions import T5Attention
from tests.runs.counting import CPU

MadeWith = Callable[..., list[Case]]


class Remembering(ReferenceRenderer):
    """The reference pipeline, asked once for each render: these tests want the same few of them."""

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self._renders: dict[RenderRequest, Render] = {}

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request not in self._renders:
            self._renders[request] = super().render(request, on_step)
        return self._renders[request]


@pytest.fixture(scope="module")
def renderer() -> Iterator[ReferenceRenderer]:
    made = Remembering()
    yield made
    made.close()


@pytest.fixture
def made_with(make_case: Callable[..., Case], renderer: ReferenceRenderer) -> MadeWith:
    """Return cases of one job whose previews were rendered here with a kernel, without loss."""

    def make(kernel: T5Attention, *names: str, **fields: object) -> list[Case]:
        cases = []
        for name in names:
            case = make_case(name, **{"settings": {"seed": len(cases)}, **fields})
            (item,) = plan([case], CPU, "cpu")
            assert item.request is not None
            image = renderer.render(dataclasses.replace(item.request, t5_attention=kernel)).image
            file = case.preview_path.with_suffix(".png")
            Image.fromarray(image).save(file)
            preview = Preview(file=file.name, sha256=sha256_file(file), width=64, height=64, step=0)
            assert case.file is not None
            cases.append(save_case(case.model_copy(update={"preview": preview}), case.file))
        return cases

    return make


def rendered(
    renderer: ReferenceRenderer, cases: list[Case], order: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return the kernel that each case was rendered with, and every render that was made."""
    planned, made = plan(cases, CPU, "cpu"), list[str]()
    kernels = T5Kernels(planned, lambda line: None)

    def render(item: Planned) -> Render:
        assert item.request is not None
        made.append(f"{item.case.id[-1]} {item.request.t5_attention}")
        return renderer.render(item.request)

    found = {}
    for item in sorted(planned, key=lambda item: order.find(item.case.id[-1])):
        outcome = kernels.render(item, render, lambda item: None)
        assert isinstance(outcome, Render)
        found[item.case.id[-1]] = str(outcome.rendered.t5_attention)
    return found, made


def test_an_identical_preview_proves_the_kernel_for_its_job(
    made_with: MadeWith, renderer: ReferenceRenderer
) -> None:
    cases = made_with("sdpa", "a", "b")
    assert rendered(renderer, cases) == ({"a": "sdpa", "b": "sdpa"}, ["a eager", "a sdpa", "b sdpa"])
    found, made = rendered(renderer, cases, order="ba")
    assert (found, made) == ({"b": "sdpa", "a": "sdpa"}, ["b eager", "a sdpa", "b sdpa", "a sdpa"])


def test_an_identical_first_render_costs_nothing(made_with: MadeWith, renderer: ReferenceRenderer) -> None:
    cases = made_with("eager", "a", "b")
    assert rendered(renderer, cases) == ({"a": "eager", "b": "eager"}, ["a eager", "b eager"])


def test_where_nothing_is_identical_one_render_is_added(
    made_with: MadeWith, renderer: ReferenceRenderer
) -> None:
    cases = made_with("sdpa", "a", "b")
    for case in cases:
        with Image.open(case.preview_path) as image:
            spoiled = np.array(image)
        spoiled[0, 0] ^= 1
        Image.fromarray(spoiled).save(case.preview_path)
    assert rendered(renderer, cases) == ({"a": "eager", "b": "eager"}, ["a eager", "a sdpa", "b eager"])
    for case in cases:
        Image.fromarray(spoiled[::-1]).save(case.preview_path)
    assert rendered(renderer, cases)[1] == ["a eager", "b eager"]


def test_a_calibration_asks_before_its_first_control(
    made_with: MadeWith, renderer: ReferenceRenderer
) -> None:
    case, made = made_with("sdpa", "a")[0], list[str]()
    (own,) = plan([case], CPU, "cpu")
    assert own.request is not None
    repeat = dataclasses.replace(own, variant=REPEAT)
    wrong = dataclasses.replace(own, variant="wrong-seed", request=dataclasses.replace(own.request, seed=9))
    kernels = T5Kernels([wrong, repeat], lambda line: None)

    def render(item: Planned) -> Render:
        assert item.request is not None
        made.append(f"{item.variant} {item.request.t5_attention}")
        return renderer.render(item.request)

    for item in (wrong, repeat):
        outcome = kernels.render(item, render, lambda item: None)
        assert isinstance(outcome, Render)
        assert outcome.rendered.t5_attention == "sdpa"
    assert made == ["repeat eager", "repeat sdpa", "wrong-seed sdpa"]


def test_a_kernel_that_a_case_says_is_not_tried(made_with: MadeWith, renderer: ReferenceRenderer) -> None:
    cases = made_with("sdpa", "a", t5_attention="eager")
    assert rendered(renderer, cases) == ({"a": "eager"}, ["a eager"])


def test_a_run_says_the_proof_and_keeps_it(made_with: MadeWith, tmp_path: Path) -> None:
    cases = made_with("sdpa", "a", trained={"dtype": "bf16", "software": "ai-toolkit 0.9.3"}, noise="current")
    row = run_cases(cases, out=tmp_path / "reports" / "one", options=CPU).rows[0]
    assert row.reason == f"bit-identical after codec matching; {PROOF}"
    assert row.rendered is not None
    assert row.rendered.t5_attention == "sdpa"
    assert "t5-attention" not in {finding.id for finding in row.findings}
    again = run_cases(cases, out=tmp_path / "reports" / "two", options=CPU).rows[0]
    assert (again.taken_from, again.reason) == ("one", row.reason)
    resumed = run_cases(cases, out=tmp_path / "reports" / "one", options=CPU).rows
    assert resumed == [row]
