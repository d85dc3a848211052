"""What can be configured of Prometheus: what it scrapes, what its rules name, and where else its samples go."""

from typing import Annotated, ClassVar

from pydantic import Field

from scripts.alerting.rules import SITE
from scripts.job.settings import JobSettings
from scripts.rendering.values import Labels, PasswordFile, SecretFile, Targets, Url, Words


class PrometheusSettings(JobSettings):
    """What can be configured of Prometheus."""

    needs_database: ClassVar[bool] = False

    application_url: Url | None = Field(
        None, validation_alias="UNIONCORE_URL", description="Where UnionCore is: what the probes look at."
    )
    exporter_targets: Targets = Field(
        "",
        validation_alias="UNIONCORE_EXPORTER_TARGETS",
        description="Where Prometheus finds the exporter, if not at UNIONCORE_EXPORTER_URL: HOST:PORT, with commas "
        "between several; as all targets.",
    )
    blackbox_targets: Targets = Field(
        "127.0.0.1:9115", validation_alias="UNIONCORE_BLACKBOX_TARGETS", description="blackbox_exporter, which probes."
    )
    alertmanager_targets: Targets = Field(
        "127.0.0.1:9093", validation_alias="UNIONCORE_ALERTMANAGER_TARGETS", description="Alertmanager; all of them."
    )
    prometheus_targets: Targets = Field(
        "127.0.0.1:9090", validation_alias="UNIONCORE_PROMETHEUS_TARGETS", description="Prometheus itself."
    )
    postgres_targets: Targets = Field(
        "", validation_alias="UNIONCORE_POSTGRES_EXPORTER_TARGETS", description="postgres_exporter, if there is one."
    )
    node_targets: Targets = Field(
        "", validation_alias="UNIONCORE_NODE_EXPORTER_TARGETS", description="node_exporter, if there is one."
    )
    grafana_targets: Targets = Field("", validation_alias="UNIONCORE_GRAFANA_TARGETS", description="Grafana.")
    runbooks_url: Url = Field(
        SITE.runbooks,
        validation_alias="UNIONCORE_RUNBOOKS_URL",
        description="Where people who are alerted find docs/runbooks.",
    )
    grafana_url: Url = Field(
        SITE.grafana, validation_alias="UNIONCORE_GRAFANA_URL", description="Grafana, as people reach it."
    )
    grafana_password: PasswordFile | None = Field(
        None,
        validation_alias="UNIONCORE_GRAFANA_PASSWORD_FILE",
        description="The file that holds the password of Grafana's administrator. It is only looked at here, before "
        "Grafana starts: without one, Grafana would take `admin`.",
    )
    database_disk_bytes: Annotated[float, Field(gt=0)] | None = Field(
        None,
        validation_alias="UNIONCORE_DATABASE_DISK_BYTES",
        description="The size of the database's disk in bytes: no exporter sees it on a managed server, and without it "
        "nothing warns that it fills up.",
    )
    external_labels: Labels = Field(
        "",
        validation_alias="UNIONCORE_EXTERNAL_LABELS",
        description="Labels that Prometheus gives to all that leaves it: alerts, and samples in a long-term store. "
        "`${NAME}` in a value is a variable of Prometheus' own environment. `replica` and `__replica__` are not given "
        "to alerts.",
        examples=["local=46,cluster=production"],
    )
    remote_write_url: Url | None = Field(
        None,
        validation_alias="UNIONCORE_REMOTE_WRITE_URL",
        description="A long-term store that takes Prometheus' remote write (Mimir, Thanos, Grafana Cloud).",
    )
    remote_write_tenant: Words = Field(
        "", validation_alias="UNIONCORE_REMOTE_WRITE_TENANT", description="Its tenant, as Mimir's `X-Scope-OrgID`."
    )
    remote_write_token: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_REMOTE_WRITE_TOKEN_FILE",
        description="The file that holds a bearer token; Prometheus reads it too.",
    )
    remote_write_user: Words = Field(
        "", validation_alias="UNIONCORE_REMOTE_WRITE_USER", description="Or a user of basic authentication."
    )
    remote_write_password: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_REMOTE_WRITE_PASSWORD_FILE",
        description="The file that holds its password; Prometheus reads it too.",
    )
