"""Diagnose a job's previews together: one wrong setting usually holds for all of them.

One preview is diagnosed; what explains it is rendered once for each other one. Only a preview that this does
not explain is searched itself, from there on, and what explains it is rendered for those that follow: a
preview may hardly change with the setting that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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

MAX_LOOKED_AT = 3
"""Previews whose recorded settings are rendered to choose the one to search first."""
MAX_ANSWERS = 4
"""What explains other previews, and is rendered for one before it is searched itself."""


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
        first: a preview that was searched and has what holds for the job; its recipe brings it back.
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
        budget: renders of a case's own length, after which no more begin, for each preview that is searched.
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


@dataclass(frozen=True)
class _Answer:
    """What explains one preview that was searched, ``case``, and may explain others."""

    case: Case
    found: Diagnosis

    @property
    def causes(self) -> list[Cause]:
        return self.found.causes if self.found.explained else []

    def settings(self, case: Case) -> Settings:
        """Return it as settings of a case of the job."""
        if case is self.case:
            return {cause.axis: cause.value for cause in self.causes}
        return _transferred(self.causes, self.case, case)


def _job(made: Diagnoser, job: str, cases: list[Case], left_out: Mapping[str, str]) -> JobDiagnosis:
    lead, looked = _lead(made, sorted(cases, key=_telling))
    first = _Answer(lead, made.diagnose(lead))
    answers, members = [first], [_alone(first)]
    for case in cases:
        if case is not lead:
            members.append(_member(made, case, answers))
    shared = _most_shared(answers, cases, members)
    by_id = {case.id: case for case in cases}
    members = [_judged(made, by_id[member.case], member, shared) for member in members]
    members = [replace(each, spent=each.spent + looked.get(each.case, 0.0)) for each in members]
    here = {case: why for case, why in left_out.items() if case.startswith(f"{job}/")}
    said = words(shared.settings(shared.case)) if shared.found.explained else "not explained"
    return JobDiagnosis(job, shared.found, said, tuple(members), here)


def _lead(made: Diagnoser, cases: list[Case]) -> tuple[Case, dict[str, float]]:
    """Return the preview to search first, and the renders that were spent to choose it, by case.

    One that its recorded settings leave within the floor, and not identical, hardly changes with what is
    wrong: another of the most telling ones says more.
    """
    looked: dict[str, float] = {}
    for case in cases[:MAX_LOOKED_AT]:
        trials = made.trials(case)
        trial = trials.attempt({})
        looked[case.id] = trials.spent
        if trial is None or trial.distance == 0 or not Floor(trials).covers(trial):
            return case, looked
    return cases[0], looked


def _alone(answer: _Answer) -> Member:
    settings = answer.settings(answer.case)
    return Member(answer.case.id, settings, answer.found.explained, False, answer.found.spent)


def _member(made: Diagnoser, case: Case, answers: list[_Answer]) -> Member:
    """Return what explains a preview: what explains others, or what a search of its own finds."""
    trials = made.trials(case)
    for answer in sorted(answers[:MAX_ANSWERS], key=lambda each: not each.causes):
        settings = answer.settings(case)
        made.tell(f"{case.id}: {words(settings)}")
        trial = trials.attempt(settings)
        if trial is not None and _explains(trials, trial, answer.found):
            return Member(case.id, settings, True, False, trials.spent)
    plain = trials.attempt({})  # it may hardly change with what is wrong
    if plain is not None and Floor(trials).covers(plain):
        return Member(case.id, {}, True, False, trials.spent)
    own = _Answer(case, made.diagnose(case, start=answers[0].settings(case)))
    there = answers[0].case
    if own.causes and all(own.settings(there) != each.settings(there) for each in answers):
        answers.insert(1, own)
    return replace(_alone(own), spent=trials.spent + own.found.spent)


def _most_shared(answers: list[_Answer], cases: list[Case], members: list[Member]) -> _Answer:
    """Return the answer that explains most previews, one with causes before none, else the first found."""
    settings = {member.case: member.settings for member in members if member.explained}

    def explains(answer: _Answer) -> int:
        return sum(settings.get(case.id) == answer.settings(case) for case in cases)

    return max(answers, key=lambda each: (explains(each) > 1 and bool(each.causes), explains(each)))


def _judged(made: Diagnoser, case: Case, member: Member, shared: _Answer) -> Member:
    """Return a member with whether the shared answer holds for it.

    A preview within its floor as recorded, and not identical, may be within it with that answer too.
    """
    settings = shared.settings(case)
    if member.explained and not member.settings and settings:
        trials = made.trials(case)
        plain = trials.attempt({})
        trial = trials.attempt(settings) if plain is not None and plain.distance > 0 else None
        holds = trial is not None and _explains(trials, trial, shared.found)
        found = settings if holds else member.settings
        return replace(member, settings=found, shared=holds, spent=member.spent + trials.spent)
    is_first = member.case == shared.case.id
    return replace(member, shared=is_first or (member.explained and member.settings == settings))


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
