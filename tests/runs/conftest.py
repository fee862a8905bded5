from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.judging.verdict import DEFAULT_TOLERANCE
from harness.schema.base import Base
from harness.schema.case import Case, save_case
from harness.schema.case_parts import LoraRef, Preview, SampleSettings, Trained
from harness.schema.result import REFERENCE, Images, Row, Verdict

MakeCase = Callable[..., Case]
MakeRow = Callable[..., Row]


@pytest.fixture
def make_case(tmp_path: Path, jobs: dict[str, Path]) -> MakeCase:
    """Saves a small case: a genuine preview cut to ``size``, few steps, LoRA of a step of its job."""

    def make(
        name: str,
        *,
        lora: int | None = None,
        size: tuple[int, int] = (64, 64),
        asked: tuple[int, int] | None = None,
        multiplier: float = 1.0,
        settings: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Case:
        folder = tmp_path / "cases"
        folder.mkdir(exist_ok=True)
        preview = folder / f"{name}.jpg"
        with Image.open(next((jobs["inkprint"] / "samples").glob("*__000000300_0.jpg"))) as image:
            image.crop((0, 0, *size)).save(preview)
        reference = None
        if lora is not None:
            suffix = "" if lora == 300 else f"_{lora:09d}"
            file = folder / f"lora{suffix}.safetensors"
            file.write_bytes((jobs["inkprint"] / f"emoji_inkprint{suffix}.safetensors").read_bytes())
            reference = LoraRef(file=file.name, sha256=sha256_file(file), network_multiplier=multiplier)
        width, height = asked or size
        few = {"prompt": "a large rocket", "width": width, "height": height, "seed": 5, "sample_steps": 2}
        case = Case(
            **{
                "id": f"small/{name}",
                "base": Base(embedded="tiny-flex2-emoji"),
                "preview": Preview(
                    file=preview.name, sha256=sha256_file(preview), width=size[0], height=size[1]
                ),
                "lora": reference,
                "settings": SampleSettings(**{**few, **(settings or {})}),
                "trained": Trained(dtype="bf16"),
                **fields,
            }
        )
        return save_case(case, folder / f"{name}.case.yaml")

    return make


@pytest.fixture
def make_row(make_case: MakeCase) -> MakeRow:
    """Makes a row without rendering."""

    def make(name: str = "a", **changes: Any) -> Row:
        case = make_case(name)
        fields: dict[str, Any] = {
            "case": case.id,
            "variant": REFERENCE,
            "verdict": Verdict.INCOMPARABLE,
            "reason": "made by a test",
            "settings": case.settings.model_dump(),
            "environment": {"python": "3"},
            "tolerance": DEFAULT_TOLERANCE,
            "images": Images(preview=f"images/{case.id}/preview.jpg"),
            "description": case,
            "key": "k",
        }
        return Row(**{**fields, **changes})

    return make


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place: a folder that does not exist yet, or one in fsspec's memory."""
    yield f"file://{tmp_path}/there/run" if request.param == "file" else "memory://bucket/run"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def ready_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork new processes from one that has imported the pipeline: each starts seconds sooner than a spawn."""
    real, ready = multiprocessing.get_context, multiprocessing.get_context("forkserver")
    ready.set_forkserver_preload(["harness.pipeline.renderer"])
    monkeypatch.setattr(
        multiprocessing, "get_context", lambda method=None: ready if method == "spawn" else real(method)
    )
