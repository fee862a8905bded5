"""What must stay light: the package, its command line's help, and reading cases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job

HEAVY = (
    *("torch", "torchvision", "diffusers", "transformers", "peft"),
    *("pandas", "skimage", "scipy", "lpips", "fsspec"),
)

LOADED = """
import sys
{code}
print(*[name for name in {heavy} if name in sys.modules])
"""


def heavy_after(code: str, *arguments: str, packages: tuple[str, ...] = HEAVY) -> list[str]:
    """Return the heavy packages that a fresh process has loaded after ``code``."""
    script = LOADED.format(code=code, heavy=packages)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_check_sees_a_heavy_package() -> None:
    assert "pandas" in heavy_after("import pandas")


@pytest.mark.parametrize(
    "code",
    [
        "import harness; dir(harness)",
        "import harness.cli.app",
        "from harness import Base, Case, HarnessError, Row, RunOptions, Tolerance, Verdict",
        "from harness import RunResult, build_report, import_job, load_run, rescore, run_cases, examine",
        "from harness import case_schema; case_schema()",
    ],
)
def test_importing(code: str) -> None:
    assert heavy_after(code) == []


def test_importing_a_job_and_loading_its_cases(jobs: dict[str, Path], tmp_path: Path) -> None:
    import_job(jobs["simple"], out=tmp_path / "cases")
    load = "from pathlib import Path\nfrom harness.schema.case import load_cases\n"
    assert heavy_after(f"{load}assert len(load_cases([Path(sys.argv[1])])) == 16", str(tmp_path)) == []
    make = "from pathlib import Path\nfrom harness.importers.aitoolkit import import_job\n"
    again = f"{make}assert len(import_job(Path(sys.argv[1]), out=Path(sys.argv[2])).cases) == 16"
    assert heavy_after(again, str(jobs["simple"]), str(tmp_path / "again")) == []


HELP = """
import contextlib, io
from harness.cli import main
sys.argv[1:] = ["--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""


def test_help_loads_nothing_that_only_commands_need() -> None:
    assert heavy_after(HELP, packages=("pydantic", "yaml", "rich", "numpy", "PIL", "logging", *HEAVY)) == []


def processor_seconds() -> float:
    """Return what ended child processes have used: a busy machine stretches wall time, not this."""
    spent = os.times()
    return spent.children_user + spent.children_system


def test_help_is_there_at_once() -> None:
    command = [Path(sys.executable).with_name("harness"), "--help"]
    best = float("inf")
    for _ in range(5):
        before = processor_seconds()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, processor_seconds() - before)
    assert 0 < best < 0.5


def test_collecting_somebodys_tests_does_not_load_torch(tmp_path: Path) -> None:
    """An installed harness costs a project's pytest nothing."""
    (tmp_path / "test_theirs.py").write_text("def test_it():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        f"    print('HEAVY:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-s"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HEAVY: []" in done.stdout
    assert "test_theirs.py" in done.stdout
