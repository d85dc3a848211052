"""The table of firing alerts, which more than one dashboard has."""

from grafana.fields import BACKGROUND, P1, P2, P3, P4, RUNBOOKS, DataLink, board, organized, override, words
from grafana.panels import Table
from grafana.queries import Query, firing, select

_COLUMNS = {"priority": "Priority", "alertname": "Alert", "service": "About", "what": "Where", "Value": "For"}
_PLACES = ("job_name", "location", "operation", "collector", "integration", "table", "datname", "mountpoint")
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


def _with_place(metric: str) -> str:
    """Return the metric with one label more, `what`: all that says where."""
    places = '", "'.join(_PLACES)
    joined = f'label_join({metric}, "what", " ", "{places}")'
    return f'label_replace({joined}, "what", "$1", "what", " *(.*?) *")'
