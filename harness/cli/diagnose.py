"""``harness diagnose``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from harness.cli.command import command, option, output_file, path, refuse_unwritable, say
from harness.cli.options import BUDGET, RENDERING, run_options

if TYPE_CHECKING:
    from harness.diagnosis.answer import Diagnosis
    from harness.runs.plan import RunOptions
    from harness.schema.result import Finding


@command()
@click.argument(
    "case", metavar="CASE", type=path, help="One case file, or a folder: a job's previews together."
)
@option("--static", is_flag=True, help="Only what needs no model.")
@BUDGET
@option("--json", "json_file", type=output_file, help="Write the result here as JSON.")
@option("--recipe", type=output_file, help="Write the runnable code here.")
@run_options(*RENDERING)
def diagnose(
    case: Path, static: bool, budget: float, json_file: Path | None, recipe: Path | None, options: RunOptions
) -> None:
    """Name the setting that explains a preview's drift, and how to get the preview back.

    Exit code: 0 explained (or only static findings were asked for), 1 nothing explains it, or no preview of
    one of several jobs can be re-run, 2 bad input, 3 a render failed.
    """
    if static:
        _refuse_recipe(recipe)
        _files_alone(case, json_file, options)
        return
    if case.is_dir():
        _together(case, budget, json_file, recipe, options)
    from harness._util.atomic_files import write_text
    from harness.judging.findings import static_findings
    from harness.schema.case import load_case

    if json_file is not None:
        from harness.diagnosis.saved_answer import pictures_folder, save_answer

        refuse_unwritable(pictures_folder(json_file), "--json", folder=True)
    loaded = load_case(case)
    show_findings(static_findings(loaded))
    from harness.diagnosis.diagnose import diagnose as find

    say("")
    found = find(loaded, options=options, budget=budget, tell=say)
    show(found)
    if json_file is not None:
        save_answer(found, json_file)
    if recipe is not None:
        write_text(recipe, found.recipe)
    sys.exit(0 if found.explained else 1)


def _refuse_recipe(recipe: Path | None) -> None:
    """Refuse to be asked for a recipe that ``--static`` cannot find."""
    from harness.errors import HarnessError

    if recipe is not None:
        found, fix = "takes renders, and --static makes none", "leave one of the two out"
        raise HarnessError(found, field="--recipe", fix=fix)


def _files_alone(path: Path, json_file: Path | None, options: RunOptions) -> None:
    """Print what the files alone say of a case, or of each case of a folder."""
    from harness._util.atomic_files import write_json
    from harness.diagnosis.base_fit import base_finding
    from harness.judging.findings import static_findings
    from harness.schema.case import load_case, load_cases

    cases = load_cases([path]) if path.is_dir() else [load_case(path)]
    answers = []
    for case in cases:
        unfit = base_finding(case, options)
        findings = [*([unfit] if unfit else []), *static_findings(case)]
        if path.is_dir():
            say(f"{case.id}:" if findings else f"{case.id}: nothing found")
        show_findings(findings)
        answers.append({"case": case.id, "findings": [vars(finding) for finding in findings]})
    if json_file is not None:
        write_json(json_file, answers if path.is_dir() else answers[0])


def _together(
    folder: Path, budget: float, json_file: Path | None, recipe: Path | None, options: RunOptions
) -> NoReturn:
    """Diagnose the previews of each job in ``folder`` together, and end the command."""
    from harness._util.atomic_files import write_json, write_text
    from harness.diagnosis.job_diagnosis import diagnose_cases
    from harness.judging.findings import static_findings
    from harness.schema.case import load_cases

    cases = load_cases([folder])
    for finding in dict.fromkeys(each.message for case in cases for each in static_findings(case)):
        say(f"  {finding}")
    found = diagnose_cases(cases, options=options, budget=budget, tell=say)
    for each in found:
        say("\n" + "\n".join(each.sentences()))
        say(f"\nrecipe:\n\n{each.first.recipe}")
    if json_file is not None:
        write_json(json_file, [each.to_json() for each in found])
    if recipe is not None:
        write_text(recipe, "\n".join(each.first.recipe for each in found))
    told = {name for each in found for name in (*each.left_out, *(member.case for member in each.members))}
    untold = [case for case in cases if case.id not in told]  # of jobs without a preview that can be re-run
    for case in untold:
        say(f"{case.id}: left out: {case.incomparable}")
    sys.exit(0 if all(each.explained for each in found) and not untold else 1)


def show_findings(findings: list[Finding]) -> None:
    """Print findings, one line each and what to do below it."""
    for finding in findings:
        say(f"{finding.severity:>8}  {finding.id}: {finding.message} [{finding.where}]")
        if finding.fix:
            say(f"          → {finding.fix}")


def show(found: Diagnosis) -> None:
    """Print a diagnosis: composition, causes, cost and recipe."""
    from harness.diagnosis.sentences import sentences

    say("")
    for sentence in sentences(found):
        say(sentence)
    say(f"\nrecipe:\n\n{found.recipe}")
