"""A preview that is older than its config may match, and is never called drifted."""

from __future__ import annotations

import pytest

from harness.judging.verdict import judge
from harness.schema.case_parts import OlderConfig
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Verdict
from tests.judging.rows import scores

LIMITS = Tolerance(ssim_min=0.9, lpips_max=0.1, source="test")


@pytest.mark.parametrize("how", OlderConfig)
def test_a_difference_is_no_drift(how: OlderConfig) -> None:
    assert judge(scores(0.5), LIMITS)[0] is Verdict.DRIFT
    verdict, reason = judge(scores(0.5), LIMITS, how)
    assert verdict is Verdict.INCOMPARABLE
    assert reason.startswith("the config was ")
    assert "SSIM 0.5000 is 0.4 below" in reason


@pytest.mark.parametrize("how", OlderConfig)
def test_a_match_is_one(how: OlderConfig) -> None:
    assert judge(scores(0.95), LIMITS, how)[0] is Verdict.MATCH
