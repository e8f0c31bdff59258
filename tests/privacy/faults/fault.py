"""What a planted fault is, and the test files that its tests are in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes
    ----------
    name : the fault in words.
    file : where it is planted.
    old, new : the edit.
    tests : node ids of pytest; at least one must fail.
    fast : whether `make test` plants it, too.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    fast: bool = False


NOISE, VAULT = "tests/core/privacy/test_noise.py", "tests/core/privacy/test_vault.py"
PIECES = "tests/core/privacy/test_pieces.py"
SPY, LAYOUT = "tests/core/privacy/test_noise_spy.py", "tests/test_layout.py"
CONTRIBUTIONS, DISCRETE = (
    "tests/core/privacy/questions/test_contributions.py",
    "tests/core/privacy/test_gdp_discrete.py",
)
LATTICE, METER, QUESTION = (
    "tests/core/privacy/questions/test_lattice.py",
    "tests/core/privacy/test_meter.py",
    "tests/core/privacy/questions/test_question.py",
)
PLAIN_DATA, SCALE = "tests/core/privacy/questions/test_plain_data.py", "tests/core/privacy/test_scale.py"
TRUSTED_BASE = "tests/privacy/test_trusted_base.py"
SENSITIVITY, LEVELS = "tests/privacy/test_sensitivity.py", "tests/privacy/test_sensitivity_levels.py"
BAD_INPUT, RELEASE = "tests/privacy/test_bad_input.py", "tests/privacy/test_release.py"
AUDIT, SIDE_CHANNELS = "tests/privacy/test_audit.py", "tests/privacy/test_side_channels.py"
PIPELINE, SYNTHESIS = "tests/core/steps/test_pipeline.py", "tests/core/test_synthesis.py"
BUDGET, GDP = "tests/core/privacy/test_budget.py", "tests/core/privacy/test_gdp.py"
RECEIPTS, MESSAGES = "tests/protocol/test_receipts.py", "tests/protocol/test_messages.py"
LEDGER, RESERVATION = "tests/client/ledger/test_ledger.py", "tests/client/ledger/test_reservation.py"
ACT, MARK = "tests/client/ledger/test_signed_act.py", "tests/client/ledger/test_mark.py"
TABLE, CHECK, KNOWN = (
    "tests/core/data/test_table.py",
    "tests/core/utility/test_check.py",
    "tests/core/steps/test_known.py",
)
POINT_MASSES = "tests/core/steps/test_point_masses.py"
DIMENSIONS, DAYS = "tests/core/test_dimensions.py", "tests/client/ledger/test_ledger_days.py"
POLICY, SNAPSHOT = "tests/client/ledger/test_policy.py", "tests/client/table/test_snapshot.py"
SITE, AGAIN = "tests/client/site/test_site.py", "tests/client/site/test_site_again.py"
REFUSALS = "tests/client/site/test_site_refusals.py"
TICKS = "tests/client/site/test_daemon_ticks.py"
