"""What every test shares: the ``full`` marker, and property tests that do not depend on the clock."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.counts import full_counts

# Reduced runs draw the same examples every time; full runs look for new ones.
settings.register_profile(
    "bitlake",
    deadline=None,
    derandomize=not full_counts(),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bitlake")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``full`` unless full counts were asked for."""
    if full_counts():
        return
    skip = pytest.mark.skip(reason="runs with full counts only: make test-full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted (`record_property`): faults met, processes killed, readers that looked on."""
    counted = [
        (report.nodeid.partition("::")[2], name, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
    ]
    if counted:
        terminalreporter.section("counts")
    for test, name, value in sorted(counted):
        terminalreporter.line(f"{name}: {value}  ({test})")
