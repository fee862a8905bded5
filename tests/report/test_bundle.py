"""Bundles: what goes in comes out elsewhere, and a hostile zip does nothing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness._util.atomic_files import sha256_file
from harness.cli.app import app
from harness.errors import BundleError, CaseError, HarnessError, LoraError, RunError
from harness.importers.bundle import import_bundle
from harness.report.export_bundle import find_run, write_bundle
from harness.schema.case import load_case
from harness.schema.case_parts import LoraRef
from tests.report.report_runs import SAMPLES, Run, case_of, sample

LORA = SAMPLES.parent / "tiny_flex2_simple_v1.safetensors"


@pytest.fixture
def run(run: Run) -> Run:
    preview = sample(30, 0)
    lora = LoraRef(file="loras/job.safetensors", sha256=sha256_file(LORA), network_multiplier=0.7)
    run.compared(case_of(preview, "job/a", lora=lora), preview, sample(0, 0))
    return run


@pytest.fixture
def bundle(run: Run, tmp_path: Path) -> Path:
    return write_bundle(run.path, "job/a", out=tmp_path / "a.zip", lora=LORA)


def rewrite(bundle: Path, changes: dict[str, bytes | None], *, honest: bool = True) -> Path:
    """Change files in a bundle; ``honest`` lists their new hashes too."""
    with zipfile.ZipFile(bundle) as archive:
        files: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()} | changes
    files = {name: data for name, data in files.items() if data is not None}
    if honest and "bundle.json" in files and "bundle.json" not in changes:
        index = json.loads(files["bundle.json"])
        index["files"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "bundle.json"
        }
        files["bundle.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return bundle


def test_a_bundle_makes_the_case_again(run: Run, bundle: Path, tmp_path: Path) -> None:
    unpacked = import_bundle(bundle, out=tmp_path / "cases")
    loaded = load_case(tmp_path / "cases" / "a.case.yaml")
    loaded.verify()
    assert loaded.model_dump() == run.folder.done["job/a", "reference"].description.model_dump()
    assert unpacked.missing_lora is None
    assert (
        "harness run cases/a --out reports/a --device cpu --pipeline builtin --dtype bf16" in unpacked.replay
    )


def test_without_the_lora_its_place_and_hash_are_named(run: Run, tmp_path: Path) -> None:
    bundle = write_bundle(run.path, "job/a", out=tmp_path / "a.zip")
    with zipfile.ZipFile(bundle) as archive:
        assert not any(name.endswith(".safetensors") for name in archive.namelist())
        assert sha256_file(LORA) in archive.read("README.txt").decode()
        assert {"images/rerun.png", "images/ssim.png", "row.json"} <= set(archive.namelist())
    unpacked = import_bundle(bundle, out=tmp_path / "cases")
    assert unpacked.missing_lora == tmp_path / "cases" / "loras" / "job.safetensors"
    unpacked.missing_lora.parent.mkdir()
    unpacked.missing_lora.write_bytes(LORA.read_bytes())
    load_case(tmp_path / "cases" / "a.case.yaml").verify()


def test_the_same_row_gives_the_same_bytes(run: Run, bundle: Path, tmp_path: Path) -> None:
    again = write_bundle(run.path, "job/a", out=tmp_path / "b.zip", lora=LORA)
    assert again.read_bytes() == bundle.read_bytes()


def test_the_newest_run_that_has_the_case(run: Run) -> None:
    assert find_run("job/a", run.path.parent) == run.path
    with pytest.raises(RunError, match="no run holds a case 'job/b'"):
        find_run("job/b", run.path.parent)


def test_a_damaged_run_beside_is_passed_over(run: Run) -> None:
    created = json.loads((run.path / "run.json").read_text()) | {"created": "2099"}
    for name, manifest, rows in (("x", "{", ""), ("y", json.dumps(created), "{}\n")):
        other = run.path.parent / name
        other.mkdir()
        (other / "run.json").write_text(manifest)
        (other / "results.jsonl").write_text(rows)
    assert find_run("job/a", run.path.parent) == run.path


def test_what_cannot_be_bundled(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no row of case 'job/b'"):
        write_bundle(run.path, "job/b", out=tmp_path / "b.zip")
    with pytest.raises(LoraError, match="its hash differs"):
        write_bundle(run.path, "job/a", out=tmp_path / "b.zip", lora=sample(0, 0))
    (run.path / "images/job/a/preview.jpg").write_bytes(b"other")
    with pytest.raises(BundleError, match="is not the case's preview"):
        write_bundle(run.path, "job/a", out=tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_names_in_the_zip_decide_nothing(bundle: Path, tmp_path: Path) -> None:
    rewrite(bundle, {"../../evil": b"x", "/abs": b"x", "case/../../up": b"x", "..\\win": b"x"})
    import_bundle(bundle, out=tmp_path / "inner" / "cases")
    found = {file.name for file in tmp_path.rglob("*") if file.is_file() and "nightly" not in file.parts}
    assert found == {"a.zip", "a.case.yaml", sample(30, 0).name, "job.safetensors"}


@pytest.mark.parametrize("path", ["../../evil.jpg", "/tmp/evil.jpg", "a/../../../evil.jpg"])
def test_a_case_cannot_name_files_outside_its_folder(bundle: Path, tmp_path: Path, path: str) -> None:
    with zipfile.ZipFile(bundle) as archive:
        case = json.loads(archive.read("case.json"))
    case["preview"]["file"] = path
    rewrite(bundle, {"case.json": json.dumps(case).encode(), f"case/{path}": sample(30, 0).read_bytes()})
    with pytest.raises(BundleError, match="must stay inside"):
        import_bundle(bundle, out=tmp_path / "inner" / "cases")
    assert not (tmp_path / "inner").exists()


@pytest.mark.parametrize(
    ("changes", "honest", "message"),
    [
        ({"bundle.json": None}, True, r"bundle\.json: is missing"),
        ({"bundle.json": b"{}"}, True, "Field required"),
        ({"case.json": b"{}"}, True, "Field required"),
        ({"case.json": None}, True, "is not listed"),
        ({"case.json": None}, False, "is missing"),
        ({"README.txt": b"rm -rf"}, False, "was changed after"),
        ({f"case/{sample(30, 0).name}": b"other"}, True, "is not the file that the case names"),
        ({"case/loras/job.safetensors": b"other"}, True, "is not the file that the case names"),
    ],
)
def test_a_damaged_bundle_writes_nothing(
    bundle: Path, tmp_path: Path, changes: dict[str, bytes | None], honest: bool, message: str
) -> None:
    rewrite(bundle, changes, honest=honest)
    with pytest.raises(BundleError, match=message):
        import_bundle(bundle, out=tmp_path / "cases")
    assert not (tmp_path / "cases").exists()


def test_a_zip_bomb_is_not_unpacked(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.importers.bundle.MAX_TEXT", 100_000)
    rewrite(bundle, {"README.txt": b" " * 10_000_000})
    with pytest.raises(BundleError, match="is larger than"):
        import_bundle(bundle, out=tmp_path / "cases")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_packing_is_not_unpacked(bundle: Path, tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match="is packed in a way that bundles are not"):
        import_bundle(bundle, out=tmp_path / "cases")


def test_a_bomb_within_the_limits_is_not_unpacked(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (files | {"case/loras/job.safetensors": bytes(20_000_000)}).items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match=r"job\.safetensors: unpacks to far more than"):
        import_bundle(bundle, out=tmp_path / "cases")


@pytest.mark.parametrize("place", [0, 1, 20])
def test_broken_packing_is_one_line(bundle: Path, tmp_path: Path, place: int) -> None:
    with zipfile.ZipFile(bundle) as archive:
        start = archive.getinfo("case.json").header_offset + 30 + len("case.json")
    data = bytearray(bundle.read_bytes())
    data[start + place] ^= 0xFF
    bundle.write_bytes(data)
    with pytest.raises(BundleError, match="cannot be read"):
        import_bundle(bundle, out=tmp_path / "cases")


def test_a_link_in_the_target_folder_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "loras").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaseError, match="leads out of its folder by a link"):
        import_bundle(bundle, out=tmp_path / "cases")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_something_else_is_refused(run: Run, bundle: Path) -> None:
    with pytest.raises(CaseError, match="is not empty and holds no cases; give another folder with --out"):
        import_bundle(bundle, out=run.path)
    assert not (run.path / "previews").exists()


def test_an_import_that_was_killed_before_its_case_was_written_goes_on(bundle: Path, tmp_path: Path) -> None:
    import_bundle(bundle, out=tmp_path / "cases")
    (case,) = (tmp_path / "cases").glob("*.case.yaml")
    case.unlink()
    import_bundle(bundle, out=tmp_path / "cases")
    assert case.is_file()


def test_a_link_in_the_run_is_not_bundled(run: Run, tmp_path: Path) -> None:
    preview = run.path / "images/job/a/preview.jpg"
    preview.rename(tmp_path / "private.jpg")
    preview.symlink_to(tmp_path / "private.jpg")
    with pytest.raises(RunError, match="is a link"):
        write_bundle(run.path, "job/a", out=tmp_path / "b.zip")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip"])
def test_a_file_that_is_no_zip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="cannot be read"):
        import_bundle(path, out=tmp_path / "cases")


def test_every_flipped_byte_is_refused_or_harmless(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        bundle.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        out = tmp_path / f"cases{place}"
        try:
            import_bundle(bundle, out=out)
        except HarnessError:
            assert not out.exists()
        else:
            load_case(out / "a.case.yaml").verify()


def test_another_file_is_never_overwritten(bundle: Path, tmp_path: Path) -> None:
    import_bundle(bundle, out=tmp_path / "cases")
    with pytest.raises(CaseError, match="exists already"):
        import_bundle(bundle, out=tmp_path / "cases")
    (tmp_path / "cases" / "a.case.yaml").unlink()
    (tmp_path / "cases" / "loras" / "job.safetensors").write_bytes(b"mine")
    with pytest.raises(CaseError, match="is another file"):
        import_bundle(bundle, out=tmp_path / "cases")


def test_the_command_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    made = call(app, ["bundle", "job/a", "--run", str(run.path)])
    assert (made.exit_code, made.output) == (0, "job--a.bundle.zip\n")
    read = call(app, ["import", "job--a.bundle.zip"])
    assert read.exit_code == 0
    assert f"put the LoRA of SHA-256 {sha256_file(LORA)} at cases/job/loras/job.safetensors" in read.output
    assert load_case(tmp_path / "cases/job/a.case.yaml").id == "job/a"
