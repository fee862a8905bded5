"""``harness compare CASE --server URL``: the image that the server makes now, explained as any other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.schema.case import Case
from tests.systems.reference_server import ReferenceServer


@pytest.fixture
def compared(
    make_cases: Callable[[int], list[Case]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    make_cases(1)
    monkeypatch.chdir(tmp_path)

    def run(*options: str) -> tuple[int, str]:
        arguments = ["compare", "cases/s000.case.yaml", "--device", "cpu", "--json", "found.json", *options]
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def test_the_servers_own_image_is_proved(
    compared: Callable[..., tuple[int, str]], server: ReferenceServer, tmp_path: Path
) -> None:
    code, _ = compared("--server", server.url)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (code, found["tool"], found["differences"]) == (0, "reference-server", [])
    assert (found["proof"]["reached"], found["proof"]["identical"]) == (True, True)
    assert len(server.posts) == 1


def test_static_asks_the_server_and_renders_nothing_here(
    compared: Callable[..., tuple[int, str]], server: ReferenceServer, tmp_path: Path
) -> None:
    code, _ = compared("--server", server.url, "--static")
    assert (code, json.loads((tmp_path / "found.json").read_text())["proof"]) == (0, None)


def test_nothing_to_compare_is_one_line(compared: Callable[..., tuple[int, str]]) -> None:
    code, said = compared()
    assert code == 2
    assert "IMAGE: there is nothing to compare; give an image, or --server URL or --comfy URL" in said
