from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.pipeline.renderer import ReferenceRenderer
from harness.report.build import build_report
from harness.runs.kept_renderer import keeping_renderer
from harness.runs.run import run_cases
from tests.pytest_plugin.tiny_project import CASES, Slow, make_project


@pytest.fixture(scope="module", autouse=True)
def kept_renderer() -> Iterator[None]:
    """Inner sessions render with one loaded base, as commands of ``harness serve`` do."""
    with keeping_renderer():
        yield


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases whose previews the reference pipeline itself rendered; made once.

    Running them loads every module that an inner pytest needs: it runs in this process, and pytester forgets
    modules that were first imported inside.
    """
    folder = tmp_path_factory.mktemp("master")
    renderer = ReferenceRenderer(device="cpu")
    cases = make_project(folder, renderer)
    build_report(run_cases(cases[:1], out=tmp_path_factory.mktemp("warm") / "run").folder)
    return folder


@pytest.fixture
def project(master: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project with the tiny cases, as the working folder."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:anyio -p no:timeout")
    shutil.copytree(master / CASES, pytester.path / CASES)
    return pytester.path


@pytest.fixture(scope="session")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's baselines; empty until the first test that asks for some."""
    return tmp_path_factory.mktemp("accepted")


@pytest.fixture
def accept(project: Path, pytester: pytest.Pytester, baselines: Path) -> Callable[..., Path]:
    """Gives the project baselines for the cases of these names; they are rendered for once in all."""

    def give(*names: str) -> Path:
        if not any(baselines.iterdir()):
            pytester.runpytest_inprocess(CASES, "--harness-update-baselines", "--no-harness-report")
            shutil.rmtree(project / "reports")
            (project / "baselines").replace(baselines / "all")
        for name in names:
            file = f"tiny/{name}.json"
            (project / "baselines/tiny").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(baselines / "all" / file, project / "baselines" / file)
        return project

    return give


@pytest.fixture
def accepted(accept: Callable[..., Path]) -> Path:
    """The project with a baseline for the cases ``tiny/plain`` and ``tiny/drifted``."""
    return accept("plain", "drifted")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no scores be there before a session waits for them, as far as it renders ahead at all."""
    monkeypatch.setattr("harness.runs.session.ScoringPool", lambda scorer, *_: Slow(scorer))
