from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from harness.errors import RunError
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.report import case_pages as cases
from harness.report.build import build_report
from tests.report.pages import page_of, targets
from tests.report.report_page import read_page
from tests.report.report_runs import Run, sample

SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def test_the_scored_pair_is_kept_for_reading_pixels(mixed: Run) -> None:
    build_report(mixed.path)
    script = (mixed.path / "cases" / "job--much.js").read_text()
    pair = json.loads(script.partition(" = ")[2].rstrip(";\n"))["job--much"]
    decoded = {name: base64.b64decode(address.partition(",")[2]) for name, address in pair.items()}
    assert decoded["preview"] == sample(30, 0).read_bytes()
    rerun = mixed.path / "images/job/much/reference/rerun.png"
    matched = Codec.of(sample(30, 0)).apply(load_rgb(rerun))
    with Image.open(io.BytesIO(decoded["rerun"])) as image:
        assert np.array_equal(np.array(image), matched)


def test_pixels_beyond_the_budget_are_left_out(mixed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "PIXEL_BUDGET", 4 * sample(30, 0).stat().st_size)
    build_report(mixed.path)
    kept = {file.stem for file in (mixed.path / "cases").glob("*.js")} - {"rows"}
    assert kept == {"job--much"}
    scripts = [
        script.attributes["src"] for script in read_page(mixed.path / "cases/job--some.html").all("script")
    ]
    assert "job--some.js" not in scripts


def test_every_local_link_and_asset_exists(mixed: Run) -> None:
    build_report(mixed.path)
    pages = [mixed.path / "index.html", *(mixed.path / "cases").glob("*.html")]
    assert len(pages) == 7
    for file in pages:
        page = read_page(file)
        anchors = {element.attributes.get("id") for element in page.all()}
        found = list(targets(page))
        assert len(found) > 8
        for target in found:
            if target.startswith("#"):
                assert target[1:] in anchors
            elif target != "data:,":
                assert (file.parent / unquote(target)).is_file(), target


def test_nothing_leaves_the_disk(mixed: Run) -> None:
    build_report(mixed.path)
    build_report(mixed.path, single_file=True)
    written = [
        *mixed.path.glob("*.html"),
        *(mixed.path / "cases").iterdir(),
        *(mixed.path / "assets").iterdir(),
    ]
    for file in (file for file in written if file.suffix != ".webp"):
        text = file.read_text(encoding="utf-8").lower().replace(SVG_NAMESPACE, "")
        assert "http:" not in text, file
        assert "https:" not in text, file
        assert "//cdn" not in text, file


def test_ids_are_unique(mixed: Run) -> None:
    for page in (page_of(mixed), read_page(mixed.path / "cases/job--much.html")):
        ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("single_file", [False, True])
def test_building_twice_gives_the_same_bytes(mixed: Run, single_file: bool) -> None:
    def built() -> dict[str, bytes]:
        build_report(mixed.path, single_file=single_file)
        return {str(file): file.read_bytes() for file in mixed.path.rglob("*") if file.is_file()}

    assert built() == built()


def test_several_processes_build_the_same_bytes(mixed: Run) -> None:
    build_report(mixed.path, jobs=1)
    alone = {file: file.read_bytes() for file in (mixed.path / "cases").iterdir()}
    shutil.rmtree(mixed.path / "cases")
    build_report(mixed.path, jobs=2)
    assert {file: file.read_bytes() for file in (mixed.path / "cases").iterdir()} == alone


def test_what_did_not_change_is_not_touched_and_left_overs_go(mixed: Run) -> None:
    index = build_report(mixed.path)
    stale = mixed.path / "cases" / "job--of-yesterday.html"
    stale.write_text("old")
    before = index.stat().st_mtime_ns
    build_report(mixed.path)
    assert index.stat().st_mtime_ns == before
    assert not stale.exists()


def test_the_single_file_needs_no_other_file(mixed: Run) -> None:
    path = build_report(mixed.path, single_file=True)
    page = read_page(path)
    assert not any(target for target in targets(page) if not target.startswith(("#", "data:")))
    assert [template.attributes["id"] for template in page.all("template")][1] == "job--much"
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == len(page.all("script")) + len(page.all("style"))


def test_a_run_without_rows(run: Run) -> None:
    page = page_of(run)
    assert page.all("ol") == []
    assert page.one("p", class_="summary").words == "This run holds no results yet."


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_row_leaves_the_old_report(mixed: Run) -> None:
    before = build_report(mixed.path).read_bytes()
    with (mixed.path / "results.jsonl").open("a") as stream:
        stream.write('{"case": "x"}\n')
    with pytest.raises(RunError, match="Field required"):
        build_report(mixed.path)
    assert (mixed.path / "index.html").read_bytes() == before
