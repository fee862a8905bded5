"""From cases and options to render requests, ordered so that weights change rarely."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from harness._util.real_paths import real_path
from harness.errors import CaseError
from harness.metrics.scores import MetricName
from harness.runs.planned import Planned
from harness.schema.base import Base
from harness.schema.case import Case, Noise
from harness.schema.dtypes import dtype_of
from harness.schema.metric_limits import Tolerance
from harness.schema.render import (
    Dtype,
    EngineName,
    Lora,
    Offload,
    PipelineCode,
    RenderRequest,
)
from harness.schema.spec import ModelSpec
from harness.schema.versions import era_of_software
from harness.systems.comfy_graph import workflow_refusal
from harness.systems.inference_body import refusal

if TYPE_CHECKING:
    from harness.judging.tolerance import Source


@dataclass(frozen=True)
class RunOptions:
    """What the command line may override; None leaves it to the case, then to the reference's rule.

    Attributes:
        tolerance: limits for every case, or whatever knows them by case and kind of machine.
        project_tolerance: the same, for cases that set none themselves.
        baselines: folder of accepted results to judge against as well, as pytest does; every image is then
            rendered, since one that another run rendered says nothing about today.
        fresh: make every render, also those that this run or one beside it holds.
        score_workers: processes that score while the next image renders; 0 scores in between, None takes the
            device's own number. They are spawned, so a script that asks for some needs
            ``if __name__ == "__main__":``.
        gpus: what ``CUDA_VISIBLE_DEVICES`` is in each of several rendering processes; none renders in this
            one. They are spawned too.
        cpu_processes: how many processes render on the CPU, forked from one that imports libraries; 1 renders
            in this one. A script that asks for more needs ``if __name__ == "__main__":`` too.
        copy_to: fsspec URL to which the run folder is copied while the run goes on, and from which a new
            folder is filled; decides nothing of the run.
        keep_latents: keep the latents of every re-run beside its image, to compare them with a baseline's.
        ray: address of a Ray cluster that renders instead; ``ray_workers`` actors, None for one on each GPU.
        server: address of a reference server that renders instead.
        server_root: where that server's file system is mounted here; None for a server on this machine.
        server_header: ``NAME=VARIABLE`` each: header NAME is sent with the value of that variable.
        comfy: address of a ComfyUI that renders instead.
        comfy_file: ``NAME=FILE`` each: input NAME of its loaders is the file FILE there.
        against_reference: score the server's images against renders in this process too.
        metrics: what to measure beside SSIM, LPIPS and PSNR, and beside what a limit is set on.
    """

    device: str = "auto"
    pipeline: PipelineCode | None = None
    base: Base | None = None
    dtype: Dtype | None = None
    offload: Offload = "auto"
    engine: EngineName = "auto"
    trust_remote_code: bool = False
    tolerance: Tolerance | Source | None = None
    project_tolerance: Tolerance | Source | None = None
    baselines: str | os.PathLike[str] | None = None
    lpips_weights: str | os.PathLike[str] | None = None
    fresh: bool = False
    score_workers: int | None = 0
    gpus: tuple[str, ...] = ()
    cpu_processes: int = dataclasses.field(default=1, kw_only=True)
    copy_to: str | None = dataclasses.field(default=None, repr=False, kw_only=True)
    ray: str | None = None
    ray_workers: int | None = None
    server: str | None = dataclasses.field(default=None, repr=False, kw_only=True)
    server_root: str | os.PathLike[str] | None = None
    server_header: tuple[str, ...] = ()
    comfy: str | None = dataclasses.field(default=None, repr=False, kw_only=True)
    comfy_file: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    against_reference: bool = False
    keep_latents: bool = True
    metrics: tuple[MetricName, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return the options that decide pixels or scores; a resumed run must have the same."""
        return {
            "device": self.device,
            "pipeline": self.pipeline,
            "base": str(self.base) if self.base else None,
            "dtype": self.dtype,
            "offload": self.offload,
            "lpips_weights": str(self.lpips_weights) if self.lpips_weights else None,
            **({"against_reference": True} if self.against_reference else {}),
            **({"metrics": sorted(self.metrics)} if self.metrics else {}),
        }

    @property
    def renders_here(self) -> bool:
        """Whether the reference pipeline renders, alone or beside another system."""
        return not self.tests_system or self.against_reference

    @property
    def tests_system(self) -> bool:
        """Whether another system than the reference pipeline makes the images."""
        return self.server is not None or self.comfy is not None

    def in_this_process(self) -> RunOptions:
        """Return these options without another system under test."""
        return dataclasses.replace(
            self, server=None, server_root=None, server_header=(), comfy=None, comfy_file=()
        )

    def reaching(self) -> dict[str, Any]:
        """Return the options that say how a render is computed, beside what its request says."""
        return {"device": self.device, "offload": self.offload, "engine": self.engine}


Planner = Callable[[list[Case], RunOptions, str], list[Planned]]
"""Plans cases under options for a device, ``cpu`` or ``cuda``."""


def select(cases: list[Case], only: str | None, limit: int | None) -> list[Case]:
    """Return the cases whose id matches the glob ``only``, at most ``limit`` of them.

    Raises:
        CaseError: nothing is left.
    """
    chosen = [case for case in cases if only is None or fnmatch(case.id, only)][:limit]
    if not chosen:
        raise CaseError(
            "no case is selected" if only is None else f"no case matches {only!r}",
            field="--limit" if only is None else "--only",
            fix=f"ids look like {cases[0].id!r}" if cases else "import a job first",
        )
    return chosen


def plan(cases: list[Case], options: RunOptions, device: str) -> list[Planned]:
    """Return one planned render per case, those that share weights next to each other."""
    planned = [
        Planned(
            case,
            request_of(case, options, device) if case.incomparable is None else None,
            problem=case.incomparable,
            free_t5=case.incomparable is None and case.t5_attention is None,
        )
        for case in cases
    ]
    return in_order(sendable(planned, options))


def sendable(planned: list[Planned], options: RunOptions) -> list[Planned]:
    """Return the plan with what a system cannot be asked for as a problem; without a system, as it is."""
    if not options.tests_system:
        return planned
    refuses = workflow_refusal if options.server is None else refusal
    return [_sendable(item, refuses) for item in planned]


def _sendable(item: Planned, refuses: Callable[[RenderRequest], str | None]) -> Planned:
    problem = refuses(item.request) if item.request is not None else None
    if problem is None:
        return item
    return dataclasses.replace(item, request=None, problem=problem, same_as=None, same_why="", free_t5=False)


def in_order(planned: list[Planned]) -> list[Planned]:
    """Return renders that share weights next to each other, what cannot be re-run last."""
    return sorted(planned, key=_order)


def _order(planned: Planned) -> tuple[Any, ...]:
    request = planned.request
    if request is None:
        return (1, (), 0, 0, planned.case.id, planned.variant)
    if planned.same_as is not None:
        return (2, (), 0, 0, planned.case.id, planned.variant)
    return (0, request.weights_key, request.width, request.height, planned.case.id, planned.variant)


def request_of(case: Case, options: RunOptions, device: str) -> RenderRequest:
    """Return the request that re-renders ``case``: command line, then case file, then the reference's rule.

    Args:
        device: ``cpu`` or ``cuda``: where it will be rendered.
    """
    base, lora_file = options.base or base_of(case), case.lora_path
    dtype = options.dtype or (training_dtype(case) if device == "cpu" else None)
    return RenderRequest(
        base=base,
        pipeline=options.pipeline or case.pipeline or default_pipeline(base, case.spec),
        dtype=dtype,
        encoder_dtype=case.encoder_dtype if dtype == case.encoder_dtype else None,
        lora=Lora(lora_file, case.lora.sha256, case.lora.network_multiplier)
        if case.lora is not None and lora_file is not None
        else None,
        **case.settings.model_dump(),
        noise=noise_of(case),
        divisor=case.divisor,
        quantize=case.quantize,
        quantize_exclude=tuple(case.quantize_exclude),
        t5_attention=case.t5_attention or "eager",
        model=case.model,
    )


def noise_of(case: Case) -> Noise:
    """Return the era of a case's first latents: its own, else legacy where its software implies it."""
    if case.noise != "auto":
        return case.noise
    return era_of_software(case.trained.software) or "auto"


def default_pipeline(base: Base, spec: ModelSpec) -> PipelineCode:
    """Return ``hub`` where the reference runs the repository's code, and ``builtin`` for anything local."""
    return "hub" if base.repo is not None and spec.hub_code else "builtin"


def training_dtype(case: Case) -> Dtype | None:
    """Return the dtype that the preview was rendered in, where the job recorded one that torch has."""
    return dtype_of(case.trained.dtype)


def base_of(case: Case) -> Base:
    """Return the case's own base; a folder as an absolute path."""
    if case.base.path is None:
        return case.base
    return Base(path=str(real_path(case.folder / case.base.path)))
