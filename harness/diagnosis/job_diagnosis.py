"""Diagnose a job's previews together: one wrong setting usually holds for all of them.

One preview is diagnosed; what explains it is rendered once for each other one. Only a preview that this does
not explain is searched itself, from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from harness.diagnosis.answer import Cause, Diagnosis
from harness.diagnosis.diagnose import BUDGET, Diagnoser, diagnoser
from harness.diagnosis.factors import LORA_AXES
from harness.diagnosis.floor import FACTOR_ELSEWHERE, MIN_FLOOR, Floor
from harness.diagnosis.search import Tell
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, words
from harness.errors import CaseError
from harness.runs.plan import RunOptions
from harness.schema.case import Case
from harness.schema.render import Renderer
from harness.sweeps.axes import MAX_SEED


@dataclass(frozen=True)
class Member:
    """What explains one preview of a job.

    Attributes:
        settings: the changed settings; empty where the case's own explain it.
        shared: they are the job's, without anything of its own.
        spent: renders of the case's own length.
    """

    case: str
    settings: Settings
    explained: bool
    shared: bool
    spent: float


@dataclass(frozen=True)
class JobDiagnosis:
    """What explains the previews of one job.

    Attributes:
        job: the first part of its cases' ids.
        first: the preview that was searched; its recipe brings it back.
        shared: what holds for the job, in words; ``as recorded`` where nothing is wrong.
        left_out: previews that cannot be re-run, by id, with the reason.
    """

    job: str
    first: Diagnosis
    shared: str
    members: tuple[Member, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def explained(self) -> bool:
        """Whether every preview that can be re-run is explained."""
        return all(member.explained for member in self.members)

    @property
    def spent(self) -> float:
        """Renders of the cases' own length, all together."""
        return sum(member.spent for member in self.members)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return {
            "job": self.job,
            "shared": self.shared,
            "explained": self.explained,
            "spent": round(self.spent, 2),
            "members": [{**vars(member), "settings": dict(member.settings)} for member in self.members],
            "left_out": dict(self.left_out),
            "first": self.first.to_json(),
        }

    def sentences(self) -> Iterator[str]:
        """Yield the job's answer, then a line for each preview that the shared one does not explain."""
        shared = [member for member in self.members if member.shared and member.explained]
        count = (
            f"all {len(self.members)}"
            if len(shared) == len(self.members)
            else f"{len(shared)} of {len(self.members)}"
        )
        yield f"{self.job}: {count} previews: {self.shared}"
        for member in self.members:
            if member not in shared:
                how = words(member.settings) if member.explained else "nothing that was tried explains it"
                yield f"  {member.case}: {how}"
        for case, why in self.left_out.items():
            yield f"  {case}: left out: {why}"
        yield f"cost: {self.spent:.1f} renders of the cases' own length"


def diagnose_cases(
    cases: list[Case],
    *,
    options: RunOptions | None = None,
    renderer: Renderer | None = None,
    budget: float = BUDGET,
    tell: Tell = lambda _: None,
) -> list[JobDiagnosis]:
    """Diagnose the previews of each job together.

    Args:
        budget: renders of a case's own length to spend at most on each preview that is searched.
        tell: called with one line as the search goes on.

    Raises:
        CaseError: no preview of a job can be re-run, or a file changed.
        HarnessError: base, LoRA or device cannot be used.
    """
    able = [case for case in cases if case.incomparable is None or case.lora is not None]
    if not able:
        raise CaseError("no preview can be re-run", field="CASES", fix="harness diagnose --static says why")
    left_out = {case.id: case.incomparable or "" for case in cases if case not in able}
    with diagnoser(able, options, renderer, budget, tell) as made:
        return [
            _job(made, job, list(group), left_out)
            for job, group in groupby(sorted(able, key=_job_name), key=_job_name)
        ]


def _job_name(case: Case) -> str:
    return case.id.rpartition("/")[0] or case.folder.name


def _job(made: Diagnoser, job: str, cases: list[Case], left_out: Mapping[str, str]) -> JobDiagnosis:
    lead = min(cases, key=_telling)
    found = made.diagnose(lead)
    causes = found.causes if found.explained else []
    settings = {cause.axis: cause.value for cause in causes}
    members = [Member(lead.id, settings, found.explained, True, found.spent)]
    for case in cases:
        if case is not lead:
            made.tell(f"{case.id}: {words(_transferred(causes, lead, case))}")
            members.append(_member(made, case, _transferred(causes, lead, case), found))
    here = {case: why for case, why in left_out.items() if case.startswith(f"{job}/")}
    shared = words(settings) if found.explained else "not explained"
    return JobDiagnosis(job, found, shared, tuple(members), here)


def _member(made: Diagnoser, case: Case, settings: Settings, lead: Diagnosis) -> Member:
    trials = made.trials(case)
    trial = trials.attempt(settings)
    if trial is not None and _explains(trials, trial, lead):
        return Member(case.id, settings, True, True, trials.spent)
    found = made.diagnose(case, start=settings)
    own = {cause.axis: cause.value for cause in found.causes} if found.explained else {}
    return Member(case.id, own, found.explained, own == settings, trials.spent + found.spent)


def _explains(trials: TrialRenderer, trial: Trial, lead: Diagnosis) -> bool:
    """Whether a trial is as near its preview as the lead's answer may be, or within its own floor.

    Another kernel changes some pictures more than others. Where the lead's answer is identical, a trial that
    is not has another cause besides.
    """
    if trial.distance <= max(MIN_FLOOR, lead.floor["rms"] or 0.0):
        return True
    floor = Floor(trials, factor=FACTOR_ELSEWHERE)
    return not lead.identical and (floor.covers(trial) or trial.distance <= floor.of_t5(trial))


def _telling(case: Case) -> tuple[bool, bool, int, str]:
    """Return what makes a preview the one to search: a LoRA, a place that shows a seed rule, few steps."""
    return case.lora is None, not case.preview.index, case.settings.sample_steps, case.id


def _transferred(causes: list[Cause], lead: Case, case: Case) -> Settings:
    """Return what explains ``lead`` as settings of another case of its job; a seed by its rule."""
    settings: dict[str, str | int | float | bool] = {}
    for cause in causes:
        if cause.axis == "checkpoint" or (cause.axis in LORA_AXES and case.lora is None):
            continue
        settings[cause.axis] = _seed(cause, lead, case) if cause.axis == "seed" else cause.value
    return settings


def _seed(cause: Cause, lead: Case, case: Case) -> int:
    """Return the seed by the rule that the lead shows: walked, not walked, or an offset."""
    offset = int(cause.value) - lead.settings.seed
    place, there = lead.preview.index or 0, case.preview.index or 0
    if place and abs(offset) == place:
        offset = there if offset > 0 else -there
    return min(max(0, case.settings.seed + offset), MAX_SEED)
