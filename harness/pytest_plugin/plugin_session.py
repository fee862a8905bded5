"""One harness session in one process: one loaded pipeline, one run folder, the verdicts of its cases."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness._util.garbage_collector import pause_collection
from harness.errors import BaselineError, HarnessError, RenderError, RunError
from harness.judging.baseline_store import BaselineStore
from harness.judging.set_verdict import judge_sets
from harness.pytest_plugin.ordering import arrange, following, nearest_of, plan_items, planned_of, variants_of
from harness.pytest_plugin.orphaned_baselines import unused_baselines
from harness.pytest_plugin.outcome import Checked
from harness.pytest_plugin.settings import read_settings
from harness.pytest_plugin.terminal import Tally, header, summary
from harness.pytest_plugin.worker_results import UNFINISHED, merge_workers, own_folder, refuse_results
from harness.pytest_plugin.xdist import score_workers
from harness.runs.accept import accept_row
from harness.runs.folder import disk_error
from harness.runs.new_folder import claim, give_back
from harness.runs.plan import plan
from harness.runs.planned import Planned
from harness.runs.run_files import MANIFEST, read_rows
from harness.schema.case import Case
from harness.schema.result import Row, Verdict

if TYPE_CHECKING:
    from harness.pytest_plugin.lookahead import Lookahead
    from harness.runs.session import RunSession


class PluginSession:
    """The state that items, fixture and summary share.

    Raises:
        pytest.UsageError: options or ``pyproject.toml`` say something impossible.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker: str | None = getattr(config, "workerinput", {}).get("workerid")
        self.settings = read_settings(config)
        handed = getattr(config, "workerinput", {}).get("harness_results")
        self._results = Path(handed) if handed else self.settings.results
        if self.settings.results and not handed and not config.option.collectonly:
            refuse_results(Path(config.option.harness_results))
        self.store = BaselineStore(self.settings.baselines)
        self.tally = Tally()
        self._planned: list[Planned] = []
        self._variants: dict[str, list[Planned]] = {}
        self._nearest: dict[str, list[Planned]] = {}
        self._opened = ExitStack()
        self._run: RunSession | None = None
        self._lookahead: Lookahead | None = None
        self.nextitem: pytest.Item | None = None

    @property
    def results(self) -> Path:
        """The run folder; where none was named, a new one is claimed on first use."""
        if self._results is None:
            self._results = claim(self.settings.runs, "pytest-")
        return self._results

    def plan(self, cases: list[Case]) -> list[Planned]:
        """Plan cases for this session's device; imports no torch."""
        if self.settings.pipeline is not None:
            default = {"pipeline": self.settings.pipeline}
            cases = [case if case.pipeline else case.model_copy(update=default) for case in cases]
        return plan(cases, self.settings.run, self.settings.run.device)

    def arrange(self, items: list[pytest.Item]) -> None:
        """Deselect, order and group the case items among ``items``; see ``arrange``."""
        cases = plan_items(items, self.plan)
        self.tally.orphans = unused_baselines(self.store, self.settings.cases, self._config.args, cases)
        dropped = arrange(items, cases, gpu=self._config.option.gpu or not self.settings.run.renders_here)
        if dropped:
            self._config.hook.pytest_deselected(items=dropped)
        self.tally.deselected = len(dropped)

    def selected(self, items: list[pytest.Item]) -> None:
        """Take note of the cases that will run."""
        self._planned = planned_of(items)
        self.tally.cases = len(self._planned)

    def header(self) -> list[str]:
        """Return what is said after collecting."""
        place = "the GPU" if self._config.option.gpu else "the CPU"
        return header(self.tally, "the server" if self.settings.run.tests_system else place)

    def check(self, item: Planned) -> Checked:
        """Render, score and judge one case, store its row, and accept it where that was asked for.

        Raises:
            HarnessError: the preview is missing, or the baseline cannot be read or written. Or the disk
                refused, which ends the session: what is rendered after that would be lost.
        """
        try:
            run, lookahead = self._open()
            return self._check(run, lookahead, item)
        except OSError as error:
            self._stop()
            raise disk_error(self.results, error) from error
        except BaselineError as error:
            if self.settings.update and isinstance(error.__cause__, OSError):
                self._stop()
            raise

    def _stop(self) -> None:
        session: Any = self._config.pluginmanager.get_plugin("session")
        session.shouldstop = "harness: the disk refused a file, see above"

    def _check(self, run: RunSession, lookahead: Lookahead, item: Planned) -> Checked:
        row = run.runner.valid_row(item)
        if row is None or (row.nearest is None and item.case.id in self._nearest):
            row = self._judged(self._render(run, lookahead, item), run.folder.path)
            row = self._with_nearest(run, lookahead, item, row)
            run.store(item, row)
        self.tally.count(row)
        if row.verdict is not Verdict.ERROR:
            self._sweep(run, lookahead, item.case)
        return Checked(row, self._relative(self.store.path(row.case)), self._page(row))

    def _with_nearest(self, run: RunSession, lookahead: Lookahead, item: Planned, row: Row) -> Row:
        """Return the row of a preview without its checkpoint with what its neighbours say of it."""
        near = self._nearest.get(item.case.id)
        if near is None or row.verdict is Verdict.ERROR:
            return row
        from harness.runs.neighbours import with_nearest

        found = [self._variant(run, lookahead, each) for each in near]
        return with_nearest(row, found, run.folder.path, run.scorer)

    def _sweep(self, run: RunSession, lookahead: Lookahead, case: Case) -> None:
        """Store a row for every variant of a case; they are other settings on purpose, so none is a failure.

        Raises:
            RenderError: a variant failed to render.
        """
        for item in self._variants.get(case.id, []):
            self._variant(run, lookahead, item)
            self.tally.variants += 1

    @staticmethod
    def _variant(run: RunSession, lookahead: Lookahead, item: Planned) -> Row:
        """Return the row of a variant, rendered and stored unless it is there already.

        Raises:
            RenderError: it failed to render.
        """
        row = run.runner.valid_row(item)
        if row is None:
            row = lookahead.row(item, ())
            run.store(item, row)
        if row.verdict is Verdict.ERROR:
            raise RenderError(f"{item.variant}: {row.reason}", field=item.case.id)
        return row

    def _render(self, run: RunSession, lookahead: Lookahead, item: Planned) -> Row:
        """Return the row of a case as its preview judges it; bad input is a row too, if it has a preview."""
        try:
            return lookahead.row(item, self._following(run, item))
        except HarnessError as error:
            if item.case.preview_path.is_file():
                return run.runner.refused(item, error)
            self.tally.verdicts[Verdict.ERROR.value] += 1
            raise

    def _following(self, run: RunSession, item: Planned) -> Iterator[Planned]:
        """Return the cases that are to be rendered after ``item``, where nothing else comes before them."""
        coming = following(item, self.nextitem) if not (self._variants or self._nearest) else ()
        return (each for each in coming if run.runner.valid_row(each) is None)

    def _judged(self, row: Row, run: Path) -> Row:
        """Return the row held against its baseline; a damaged one is an error, and the render is kept."""
        asked = self.settings
        try:
            if asked.update:
                written = accept_row(row, self.store, reason=asked.reason, new_only=asked.new_only, run=run)
                if written is not None:
                    self.tally.written.append(str(self._relative(written)))
            return self.store.judge(row, run)
        except BaselineError as error:
            if isinstance(error.__cause__, OSError):
                raise
            return row.model_copy(update={"verdict": Verdict.ERROR, "reason": str(error)})

    def _open(self) -> tuple[RunSession, Lookahead]:
        """Open run folder, scorer and renderer; once."""
        if self._run is None or self._lookahead is None:
            gc.unfreeze()
            with pause_collection(), ExitStack() as stack:
                self._run, self._lookahead = self._open_run(stack)
                self._opened = stack.pop_all()
        return self._run, self._lookahead

    def _open_run(self, stack: ExitStack) -> tuple[RunSession, Lookahead]:
        from harness.pytest_plugin.lookahead import Lookahead
        from harness.pytest_plugin.step_progress import StepProgress
        from harness.runs.machine import machine_of
        from harness.runs.preflight import Preflight
        from harness.runs.progress import steps_of
        from harness.runs.session import open_run
        from harness.runs.setup import Setup

        options = self.settings.run
        machine = stack.enter_context(machine_of(options))
        preflight = Preflight()
        self._variants = variants_of(self._planned, self.settings.sweep, options)
        self._nearest = nearest_of(self._planned, options) if self.settings.neighbours else {}
        planned = [*self._planned, *chain(*self._variants.values(), *self._nearest.values())]
        progress = StepProgress(self._config.pluginmanager, sum(map(steps_of, planned)))
        workers = options.score_workers
        workers = score_workers(machine.device) if workers is None else workers
        options = dataclasses.replace(options, score_workers=workers)
        setup = Setup(self._planned, machine, preflight.known_bases(planned), options)
        try:
            folder = own_folder(self.results, self._worker, setup.identity())
            run = stack.enter_context(open_run(setup, folder, progress=progress, reuse=False))
        except RunError as error:
            self.tally.refused = True
            error.field = "--harness-results" if error.field == "--out" else error.field
            raise
        return run, Lookahead(run, preflight, workers, progress)

    def worker_ended(self, output: dict[str, Any]) -> None:
        """Take over the tally of an xdist worker."""
        if (found := output.get("harness")) is not None:
            self.tally.add(found)

    def finish(self, session: pytest.Session) -> None:
        """Close the run; in the process that reports, merge the workers' parts and build the report."""
        self._opened.close()
        if self._run is not None:
            gc.freeze()  # the process ends faster where nothing looks for garbage
        if self._worker:
            self._config.workeroutput["harness"] = self.tally.plain()  # type: ignore[attr-defined]
            return
        if self._results is not None and not self._config.option.collectonly:
            stopped = session.exitstatus == pytest.ExitCode.INTERRUPTED
            try:
                self._close(self._results, stopped=stopped)
            except (HarnessError, OSError, KeyboardInterrupt) as error:
                failed = disk_error(self._results, error) if isinstance(error, OSError) else error
                self.tally.problem = str(failed) or f"interrupted: go on with harness report {self._results}"
                session.exitstatus = pytest.ExitCode.INTERRUPTED
        unused_fail = bool(self.tally.orphans) and self.settings.unused == "fail"
        if (unused_fail or self.tally.sets) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _close(self, results: Path, *, stopped: bool) -> None:
        """Leave a run folder with its report, or one in which the repeated command goes on."""
        self.tally.stopped = stopped
        broken_off = stopped or self.tally.refused or not self.tally.verdicts
        goes_on = broken_off and self.settings.results is not None
        if not goes_on:
            merge_workers(results)
            drifting = judge_sets(read_rows(results))
            self.tally.sets = [
                f"{found.job} as a whole: {found.reason}" for found in drifting if found.drifts
            ]
        if self.settings.report and not broken_off and (results / MANIFEST).is_file():
            from harness.report.build import build_report

            left_out: list[HarnessError] = []
            build_report(results, damaged=left_out)
            self.tally.left_out = [str(each) for each in left_out]
        if not goes_on:
            (results / UNFINISHED).unlink(missing_ok=True)
        if self.settings.results is None:
            give_back(results)

    def summarise(self, reporter: Any) -> None:
        """Print the end of the run."""
        if lines := summary(self.tally, self.settings, self._results and self._relative(self._results)):
            reporter.section("harness")
            for line in lines:
                reporter.line(line)

    def _page(self, row: Row) -> str:
        from harness.report.formatting import slug

        results = self._relative(self.results)
        if not self.settings.report:
            return f"none was asked for; harness report {results} builds it"
        return f"{results}/cases/{slug(row.case, row.variant)}.html"

    def _relative(self, path: Path) -> Path:
        root = self._config.rootpath
        return path.relative_to(root) if path.is_relative_to(root) else path
