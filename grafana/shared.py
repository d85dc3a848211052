"""Panels that more than one dashboard has: firing alerts, whether the application answers, and how available it is."""

from grafana.fields import (
    BACKGROUND,
    DEEP,
    P1,
    P2,
    P3,
    P4,
    RUNBOOKS,
    WELL,
    DataLink,
    board,
    coloured,
    organized,
    override,
    runbook,
    steps,
    words,
    yes_no,
)
from grafana.panels import Graph, Stat, Table
from grafana.queries import Query, firing, probe, select
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

ANSWERS = [
    Query(f"min({probe('probe_success', job=f'unioncore-{job}')})", name)
    for job, name in {"live": "alive", "serving": "serving", "ready": "all parts"}.items()
]
"""Whether the application answers, by probe."""

_COLUMNS = {"priority": "Priority", "alertname": "Alert", "service": "About", "what": "Where", "Value": "For"}
_PLACES = (
    *("job_name", "location", "operation", "collector", "integration", "receiver_name", "table", "datname"),
    "mountpoint",
)
"""The labels that say where an alert fires; none has more than one or two of them."""
_RUNBOOK = DataLink(title="Runbook", url=f"${{{RUNBOOKS}}}/${{__value.raw}}.md", target_blank=True)
_PRIORITIES = {"P1": ("P1", P1), "P2": ("P2", P2), "P3": ("P3", P3), "P4": ("P4", P4)}


def firing_alerts(services: str = ".+", *, width: int = 16, height: int = 7) -> Table:
    """Return the table of the alerts that fire for these services, a pattern of the label `service`."""
    alerts = _with_place(firing(service=f"=~{services}"))
    # When an alert became true is a series of its own, with the alert's labels but for its state.
    began = _with_place(select("ALERTS_FOR_STATE", severity="!=none"))
    return Table(
        title="Firing alerts",
        description="What is wrong now, and how long it has been true. An alert's name leads to its runbook: follow it,"
        " the most urgent first.",
        unit="string",
        queries=[
            Query(
                f"time() - max by (priority, alertname, service, what) ({began})\n"
                f"and on (alertname, service, what) {alerts}"
            )
        ],
        no_value="No alert is firing",
        transformations=[organized(_COLUMNS)],
        overrides=[
            override("Priority", mappings=words(_PRIORITIES), custom_width=80, custom_cellOptions=BACKGROUND),
            override("Alert", links=[_RUNBOOK], custom_minWidth=220),
            override("For", unit="dtdurations", decimals=0, custom_width=150),
        ],
        sort="Priority",
        links=[board("watchers")],
        width=width,
        height=height,
    )


def answers() -> Stat:
    """Return the panel that says whether the application answers now."""
    return Stat(
        title="UnionCore answers",
        description="Whether the application is alive, can serve people, and calls each of its parts healthy, by the"
        " body of its answer. If not, open Service and follow the runbook.",
        unit="none",
        queries=ANSWERS,
        mappings=yes_no("Yes", "No"),
        links=[
            runbook("UnionCoreNotReady"),
            runbook("UnionCoreDown"),
            runbook("UnionCoreCheckFailing"),
            board("service"),
        ],
        width=8,
    )


def available(*, width: int) -> Stat:
    """Return the panel of the availability within 30 days."""
    return Stat(
        title="Availability, 30 days",
        description="The share of checks within 30 days in which the application could serve people. Below the limit"
        " the error budget is used up: put off what is risky, and open Service.",
        unit="percentunit",
        decimals=2,
        queries=[Query(probe("instance:unioncore_availability:avg30d"))],
        steps=steps((LIMITS.availability, WELL), below=P2),
        links=[board("service"), runbook("UnionCoreErrorBudgetBurn6x")],
        width=width,
    )


def available_by_day(*, width: int) -> Graph:
    """Return the graph of the availability, day by day."""
    return Graph(
        title="Availability by day",
        description="The share of checks in the 24 hours before each moment in which the application could serve"
        " people. A notch is an outage: the marks say which alert it raised; follow its runbook.",
        unit="percentunit",
        maximum=1,
        soft_minimum=0.99,
        queries=[Query(probe("instance:unioncore_availability:avg1d"), "availability")],
        steps=steps((LIMITS.availability, WELL), below=P2),
        overrides=coloured({"availability": DEEP}),
        links=[board("service"), runbook("UnionCoreErrorBudgetBurn6x")],
        width=width,
    )


def _with_place(metric: str) -> str:
    """Return the metric with one label more, `what`: all that says where."""
    places = '", "'.join(_PLACES)
    joined = f'label_join({metric}, "what", " ", "{places}")'
    return f'label_replace({joined}, "what", "$1", "what", " *(.*?) *")'
