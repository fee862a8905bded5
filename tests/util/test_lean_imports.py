"""A command of the harness imports no package that a render does not use; what it renders stays the same."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness._util.atomic_files import sha256_file
from harness._util.installed_packages import importable_names
from harness._util.lean_imports import UNUSED, lean_imports, own_process, share_process
from harness.importers.aitoolkit import import_job
from harness.schema.case import save_case

REMEMBER = "import os, pathlib\npathlib.Path(os.environ['IMPORTED'], __name__.partition('.')[0]).touch()\n"
"""What stands for an installed package here: its first import leaves a file."""

MAIN = "from harness.cli import main; main()"
OTHER = "from harness.cli import run_command; run_command()"


@pytest.fixture
def case(tmp_path: Path, jobs: dict[str, Path]) -> Path:
    """A case of two steps, with a LoRA."""
    for case in import_job(jobs["inkprint"], out=tmp_path / "cases", steps="300").cases:
        if case.file is not None and case.preview.index == 2:
            few = case.settings.model_copy(update={"sample_steps": 2})
            save_case(case.model_copy(update={"settings": few}), case.file)
            return case.file
    raise AssertionError("no such preview")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with packages of the names that a command leaves out; torchvision is there already."""
    folder = tmp_path / "packages"
    for name in ("bitsandbytes", "sklearn", "torchao"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(REMEMBER)
        info = folder / f"{name}-99.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    return folder


def rendered(
    case: Path, out: Path, main: str, packages: Path, command: str = "run", *options: str
) -> tuple[str, list[str]]:
    """Return the image's hash of a process that renders one case, and what it imported of ``UNUSED``."""
    seen = out.with_name(f"imported-{out.name}")
    seen.mkdir()
    script = f"import atexit, sys\natexit.register(lambda: print('torchvision' in sys.modules))\n{main}"
    done = subprocess.run(
        [sys.executable, "-c", script, command, case, "--out", out, "--device", "cpu", "--fresh", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), *sys.path]), "IMPORTED": str(seen)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    torchvision = ["torchvision"] if done.stdout.split()[-1] == "True" else []
    image = min(out.rglob("rerun.png"))
    return sha256_file(image), [*(file.name for file in seen.iterdir()), *torchvision]


def test_a_command_imports_none_and_renders_the_same(case: Path, packages: Path, tmp_path: Path) -> None:
    lean, imported = rendered(case, tmp_path / "lean", MAIN, packages)
    assert imported == []
    usual, imported = rendered(case, tmp_path / "usual", OTHER, tmp_path)
    assert imported == ["torchvision"], "libraries import it where nothing holds them back"
    assert lean == usual


def test_a_sweep_which_asks_diffusers_for_schedules_first_imports_none_either(
    case: Path, packages: Path, tmp_path: Path
) -> None:
    _, imported = rendered(case, tmp_path / "sweep", MAIN, packages, "sweep", "--axis", "shift=3")
    assert imported == []


def test_a_library_that_found_the_packages_keeps_them(case: Path, tmp_path: Path) -> None:
    rendered(case, tmp_path / "run", f"import diffusers; {MAIN}", tmp_path)


def test_packages_are_absent_within_the_block_alone(monkeypatch: pytest.MonkeyPatch, packages: Path) -> None:
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("IMPORTED", str(packages))
    for name in UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("harness._util.lean_imports._LOOK_ONCE", ())  # other tests may have imported them
    with own_process(), lean_imports():
        assert importlib.util.find_spec("sklearn") is None
        with pytest.raises(ModuleNotFoundError):
            import sklearn
    import sklearn

    assert not {*UNUSED} & {name for name, module in sys.modules.items() if module is None}
    with own_process(), lean_imports():
        import sklearn as again
    assert again is sklearn, "what is imported already stays"


def test_nothing_is_left_out_of_a_process_that_others_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with lean_imports():
        assert "torchvision" not in sys.modules
    with own_process():
        share_process()
        with lean_imports():
            assert "torchvision" not in sys.modules


def test_installed_packages_are_listed_as_python_lists_them() -> None:
    listed = importlib.metadata.packages_distributions
    with lean_imports():
        first = importlib.metadata.packages_distributions()
        assert first == listed()
        first["numpy"].append("changed")
        assert importlib.metadata.packages_distributions() == listed()
    assert importlib.metadata.packages_distributions is listed
    names = {name for found in map(importable_names, importlib.metadata.distributions()) for name in found}
    assert names >= {*listed()}, "what Python 3.12 lists, it lists of any Python's packages"
    assert names >= {"numpy", "PIL", "yaml", "skimage", "typing_extensions"}
