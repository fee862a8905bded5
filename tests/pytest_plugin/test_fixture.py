"""The ``harness`` fixture: what an item does, and one line for what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_plugin.tiny_project import CASES, output

NO_REPORT = "--no-harness-report"
IMPORTED = "-Wignore::pytest.PytestAssertRewriteWarning"
"""The outer session has imported the plugin already."""
GIVE = "give a case, or the path of a *.case.yaml relative to the test file"


def test_fixture_checks_a_case_as_its_item_would(accepted: Path, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_hand="""
        def test_match(harness):
            row = harness.check("cases/plain.case.yaml")
            assert row.verdict == "match" and row.psnr is None

        def test_no_baseline(harness):
            harness.check("cases/lora_0.case.yaml")

        def test_accepted_drift(harness):
            harness.check("cases/drifted.case.yaml")

        def test_no_case(harness):
            harness.check("cases/none.case.yaml")
        """
    )
    result = pytester.runpytest_inprocess("test_hand.py", NO_REPORT, "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=2, xfailed=1)
    assert "fixture.py" not in output(result)
    result.stdout.fnmatch_lines(
        ["*/none.case.yaml: cannot be read (No such file or directory); give a case, or*"]
    )
    result.stdout.fnmatch_lines(["  case      tiny/lora_0", "verdicts: 1 match, 1 drift, 1 incomparable"])
    assert 'name="ssim"' in (accepted / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("'cases/none.case.yaml'", f"*/none.case.yaml: cannot be read (No such file or directory); {GIVE}"),
        ("'tiny/plain'", f"*/tiny/plain: cannot be read (No such file or directory); {GIVE}"),
        ("'cases'", "*/cases: is a folder; name a *.case.yaml in it, which harness import makes"),
        ("'a\\0'", f"*: cannot be read (a path holds no NUL character); {GIVE}"),
        ("'a\\ud800'", f"*/a\\ud800: cannot be read (a path holds no character '\\ud800'); {GIVE}"),
        ("Bytes()", f"harness.check: found Bytes; {GIVE}"),
        ("'cases/plain.png'", "*/plain.png: is no case file; name a *.case.yaml, which harness import makes"),
        ("None", f"harness.check: found None; {GIVE}"),
        ("['cases/plain.case.yaml']", f"harness.check: found [[]'cases/plain.case.yaml']; {GIVE}"),
        ("memory", "id: this case was made in memory and has no folder; save it first"),
    ],
)
def test_what_is_no_case_is_one_line(project: Path, pytester: pytest.Pytester, given: str, said: str) -> None:
    pytester.makepyfile(
        test_hand=f"""
        from harness.schema.case import Case, load_case

        class Bytes:
            def __fspath__(self):
                return b"cases/plain.case.yaml"

            def __repr__(self):
                return "Bytes"

        def test_bad(harness, request):
            memory = Case(**load_case(request.path.parent / "cases/plain.case.yaml").model_dump())
            harness.check({given})

        def test_next():
            pass
        """
    )
    result = pytester.runpytest_inprocess("test_hand.py", NO_REPORT, IMPORTED, "-rN")
    result.assert_outcomes(failed=1, passed=1)
    lines = [line for line in result.outlines if line and line[0] not in "=_"]
    (line,) = lines[lines.index(next(each for each in lines if each.startswith("test_hand.py "))) + 1 :]
    result.stdout.fnmatch_lines([said])
    assert "Error" not in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--harness-tolerance=ssim=2", "--harness-tolerance: ssim_min: Input should be less than or equal*"),
        ("--harness-sweep=shfit", "--harness-sweep: unknown preset 'shfit'; did you mean 'shift'?"),
        ("--harness-base=/no/base", "--harness-base: '/no/base' is neither a folder nor a repository; give*"),
        (f"--harness-base={'b' * 300}", "--harness-base: 'bbb*' cannot be read (File name too long)"),
        (f"--harness-results={'r' * 300}", "--harness-results: rrr* cannot be used (File name too long); *"),
        (f"--harness-baselines={'a' * 300}", "*/aaa*: cannot be used (File name too long); name another*"),
        ("--harness-baselines=test_hand.py/a", "*/test_hand.py/a: is no folder; name another with *"),
        ("--harness-results=test_hand.py", "--harness-results: test_hand.py is no folder; name another"),
        (f"--harness-results={CASES}", f"--harness-results: {CASES} is not empty and holds no run; choose*"),
        ("--harness-baselines=test_hand.py", "*/test_hand.py: is no folder; name another with *"),
    ],
)
def test_an_impossible_option_is_one_line_for_each_test_that_needs_it(
    project: Path, pytester: pytest.Pytester, option: str, said: str
) -> None:
    pytester.makepyfile(
        test_hand="""
        def test_hand(harness):
            harness.check("cases/plain.case.yaml")

        def test_next():
            pass
        """
    )
    result = pytester.runpytest_inprocess("test_hand.py", IMPORTED, option, "-rN")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_hand*", said, "*1 passed, 1 error*"], consecutive=True
    )
    assert "UsageError" not in output(result)
