from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile

# Before anything imports torch or diffusers: no hub, one thread, and remote code of this process apart
# from that of other xdist workers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HARNESS_NO_SERVE"] = "1"  # whoever runs the tests may have a warm process
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the processes of tests compile the package once, not each
MODULES = os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="harness-test-modules-")

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from harness._util.garbage_collector import pause_collection
from harness.schema.base import Base
from harness.schema.render import RenderRequest

if TYPE_CHECKING:
    from harness.pipeline.renderer import ReferenceRenderer

# Machines are slow at times: what an example takes says nothing about the code.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

DATA = Path(__file__).parent / "data"
PACKAGE_DATA = Path(__file__).parent.parent / "harness" / "data"


LONGEST = (
    "test_genuine_diagnosis.py", "test_previews.py", "test_wrong_answers.py", "test_wrong_settings.py",
    "test_wheel.py", "test_other_machines.py", "test_models.py", "test_tools.py", "test_serve.py",
    "test_watch.py",
)  # fmt: skip
"""Files that start first: the processes of a run then end together. They render many genuine previews, or are
the last by name that take long."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector never look at what test files import: it is there to the end."""
    with pause_collection():
        found = yield
        gc.freeze()
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_unconfigure() -> None:
    """Remove this process's remote code."""
    shutil.rmtree(MODULES, ignore_errors=True)


@pytest.fixture(scope="session")
def jobs() -> dict[str, Path]:
    """The genuine AI Toolkit jobs, by name: ``inkprint`` ships, the others are older and test data."""
    return {
        "inkprint": PACKAGE_DATA / "jobs" / "emoji_inkprint",
        "simple": DATA / "jobs" / "tiny_flex2_simple_v1",
        "q8": DATA / "jobs" / "tiny_flex2_q8",
        "legacy": DATA / "jobs" / "legacy_jpg_q8",
        "identity_simple": DATA / "jobs" / "identity_simple",
        "identity_q8": DATA / "jobs" / "identity_q8",
    }


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The embedded checkpoint."""
    return PACKAGE_DATA / "checkpoints" / "tiny-flex2-emoji"


@pytest.fixture(scope="session")
def quick_request() -> Callable[..., RenderRequest]:
    """Makes quick requests to the embedded checkpoint, without a LoRA unless one is given."""

    def make(**changes: object) -> RenderRequest:
        settings: dict[str, object] = {
            "base": Base(embedded="tiny-flex2-emoji"),
            "pipeline": "builtin",
            "dtype": "bf16",
            "lora": None,
            "prompt": "a rocket and a star on a purple background",
            "neg": "",
            "width": 64,
            "height": 64,
            "seed": 5,
            "sample_steps": 3,
            "guidance_scale": 4.0,
        }
        return RenderRequest(**{**settings, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def renderer() -> Iterator[ReferenceRenderer]:
    """The reference pipeline on the CPU, loaded once."""
    from harness.pipeline.renderer import ReferenceRenderer

    made = ReferenceRenderer(device="cpu")
    yield made
    made.close()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT be what it is where a user types: xdist's workers and background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
