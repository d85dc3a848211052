"""The pages made from code, and the public contract that they state."""

import re

import pytest

from exporter.contract import CONTRACT
from exporter.metrics import Family
from scripts.dev import docs

# The contract as it was released, by hand: a name or a label that changes here breaks somebody's dashboard.
RELEASED = {
    "unioncore_up": (),
    "unioncore_collector_success": ("collector",),
    "unioncore_collector_duration_seconds": ("collector",),
    "unioncore_collector_last_success_timestamp_seconds": ("collector",),
    "unioncore_users": ("state",),
    "unioncore_users_active": ("window",),
    "unioncore_login_sessions": ("state",),
    "unioncore_members": ("status", "classification"),
    "unioncore_audit_events": ("window",),
    "unioncore_audit_events_total": ("table", "action"),
    "unioncore_audit_last_event_timestamp_seconds": (),
    "unioncore_audit_oldest_event_timestamp_seconds": (),
    "unioncore_audit_immutable": ("operation",),
    "unioncore_dues_collected_dollars": ("window", "method"),
    "unioncore_dues_payments": ("status",),
    "unioncore_dues_outstanding_dollars": ("status",),
    "unioncore_students": ("status",),
    "unioncore_backup_last_success_timestamp_seconds": ("location",),
    "unioncore_backup_age_seconds": ("location",),
    "unioncore_backup_size_bytes": ("location",),
    "unioncore_backups": ("location",),
    "unioncore_backup_last_verified_timestamp_seconds": (),
    "unioncore_job_last_success_timestamp_seconds": ("job_name",),
    "unioncore_job_last_run_timestamp_seconds": ("job_name",),
    "unioncore_job_last_run_succeeded": ("job_name",),
    "unioncore_job_last_run_duration_seconds": ("job_name",),
    "unioncore_job_last_run_items": ("job_name",),
    "unioncore_exporter_build_info": ("version", "python"),
    "unioncore_schema_info": ("fact", "table", "column"),
    "unioncore_book_registrations": ("status",),
    "unioncore_labor_requests": ("status",),
    "unioncore_dispatches": ("status",),
    "unioncore_grievances": ("status",),
    "unioncore_benevolence_applications": ("status",),
    "unioncore_grants": ("status",),
    "unioncore_dues_adjustments": ("status",),
}
# Prometheus: Metric and label naming. Each has a base unit beside it (seconds, bytes, ratio).
NOT_BASE_UNITS = r"milliseconds|microseconds|ms|minutes|hours|days|weeks|bits|kilobytes|kb|megabytes|mb|percent|cents"


def test_the_committed_pages_are_those_that_the_code_makes() -> None:
    for path, page in docs.pages():
        assert path.read_text(encoding="utf-8") == page, f"{path.name}: run `make docs`"


def test_every_setting_is_in_one_group_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "GROUPS", {**docs.GROUPS, "Logs": ("UNIONCORE_LOG_FORMAT",)})
    with pytest.raises(ValueError, match="UNIONCORE_LOG_LEVEL"):
        docs.configuration()


def test_the_contract_is_what_was_released() -> None:
    assert {family.name: family.labels for family in CONTRACT} == RELEASED
    assert len(CONTRACT) == len(RELEASED)


@pytest.mark.parametrize("family", CONTRACT, ids=lambda family: family.name)
def test_every_family_is_named_as_prometheus_asks(family: Family) -> None:
    assert re.fullmatch(r"unioncore(_[a-z]+)+", family.name)
    assert (family.kind == "counter") == family.name.endswith("_total")
    assert not re.search(rf"_({NOT_BASE_UNITS})(_|$)", family.name)
    assert not family.name.endswith(("_count", "_sum", "_bucket", "_created"))
    assert ("timestamp" in family.name) == family.name.endswith("_timestamp_seconds")
    for label in family.labels:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label)
        # Given to every series by the scrape itself, or by histograms and summaries.
        assert label not in {"job", "instance", "le", "quantile"}


@pytest.mark.parametrize("family", CONTRACT, ids=lambda family: family.name)
def test_every_family_says_what_it_means_and_where_one_would_use_it(family: Family) -> None:
    assert family.documentation.endswith(".")
    assert re.search(rf"\b{family.name}\b", family.example)
    assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", family.example)) <= set(family.labels)
