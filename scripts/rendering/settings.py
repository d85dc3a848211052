"""What can be configured of notifications, and reading it together with what Prometheus does."""

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from exporter.settings import ConfigurationError, load, variable_of, zone_name
from scripts.rendering.monitoring import PrometheusSettings
from scripts.rendering.values import (
    Days,
    Host,
    Hours,
    Mail,
    Mails,
    Priorities,
    SecretFile,
    SecretUrlFile,
    Url,
    Words,
)

CHANNELS = {
    "page": {
        "UNIONCORE_PAGERDUTY_KEY_FILE": "pagerduty",
        "UNIONCORE_OPSGENIE_KEY_FILE": "opsgenie",
        "UNIONCORE_PAGE_WEBHOOK_URL_FILE": "webhook",
    },
    "chat": {
        "UNIONCORE_SLACK_URL_FILE": "slack",
        "UNIONCORE_MATTERMOST_URL_FILE": "mattermost",
        "UNIONCORE_TEAMS_URL_FILE": "msteamsv2",
    },
    "mail": {"UNIONCORE_MAIL_TO": "email"},
    "ticket": {
        "UNIONCORE_JIRA_URL": "jira",
        "UNIONCORE_TICKET_MAIL_TO": "email",
        "UNIONCORE_TICKET_WEBHOOK_URL_FILE": "webhook",
    },
}
"""The channels that reach people: the variables that configure each, with the names of Alertmanager's integrations."""

_URGENT = ("page", "chat", "mail")
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}
_NEEDS = {
    "UNIONCORE_OPSGENIE_TEAM": ("UNIONCORE_OPSGENIE_KEY_FILE",),
    "UNIONCORE_PAGE_WEBHOOK_TOKEN_FILE": ("UNIONCORE_PAGE_WEBHOOK_URL_FILE",),
    "UNIONCORE_SLACK_CHANNEL": ("UNIONCORE_SLACK_URL_FILE",),
    "UNIONCORE_MATTERMOST_CHANNEL": ("UNIONCORE_MATTERMOST_URL_FILE",),
    "UNIONCORE_MAIL_TO": ("UNIONCORE_SMTP_HOST", "UNIONCORE_SMTP_FROM"),
    "UNIONCORE_TICKET_MAIL_TO": ("UNIONCORE_SMTP_HOST", "UNIONCORE_SMTP_FROM"),
    "UNIONCORE_SMTP_USER": ("UNIONCORE_SMTP_PASSWORD_FILE",),
    "UNIONCORE_SMTP_PASSWORD_FILE": ("UNIONCORE_SMTP_USER",),
    "UNIONCORE_JIRA_URL": ("UNIONCORE_JIRA_PROJECT", "UNIONCORE_JIRA_TOKEN_FILE"),
    "UNIONCORE_JIRA_PROJECT": ("UNIONCORE_JIRA_URL",),
    "UNIONCORE_JIRA_TOKEN_FILE": ("UNIONCORE_JIRA_URL",),
    "UNIONCORE_TICKET_WEBHOOK_TOKEN_FILE": ("UNIONCORE_TICKET_WEBHOOK_URL_FILE",),
    "UNIONCORE_REMOTE_WRITE_TENANT": ("UNIONCORE_REMOTE_WRITE_URL",),
    "UNIONCORE_REMOTE_WRITE_TOKEN_FILE": ("UNIONCORE_REMOTE_WRITE_URL",),
    "UNIONCORE_REMOTE_WRITE_USER": ("UNIONCORE_REMOTE_WRITE_URL", "UNIONCORE_REMOTE_WRITE_PASSWORD_FILE"),
    "UNIONCORE_REMOTE_WRITE_PASSWORD_FILE": ("UNIONCORE_REMOTE_WRITE_URL", "UNIONCORE_REMOTE_WRITE_USER"),
}


class RenderSettings(PrometheusSettings):
    """What can be configured of notifications.

    A secret is a variable that ends in `_FILE`, and there is none without it: Alertmanager reads the file itself.
    """

    pagerduty_key: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_PAGERDUTY_KEY_FILE",
        description="Page by PagerDuty: the file that holds the integration key of an Events API v2 integration.",
    )
    pagerduty_url: Url = Field(
        "https://events.pagerduty.com/v2/enqueue",
        validation_alias="UNIONCORE_PAGERDUTY_URL",
        description="Its API; https://events.eu.pagerduty.com/v2/enqueue for an account in the EU.",
    )
    opsgenie_key: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_OPSGENIE_KEY_FILE",
        description="Page by Opsgenie, or by Jira Service Management: the file that holds the API key.",
    )
    opsgenie_url: Url = Field(
        "https://api.opsgenie.com",
        validation_alias="UNIONCORE_OPSGENIE_URL",
        description="Its API; https://api.eu.opsgenie.com for an account in the EU.",
    )
    opsgenie_team: Words = Field(
        "", validation_alias="UNIONCORE_OPSGENIE_TEAM", description="The team that is paged; else the key's own."
    )
    page_webhook_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_PAGE_WEBHOOK_URL_FILE",
        description="Page by a webhook: the file that holds the URL that gets Alertmanager's own JSON.",
    )
    page_webhook_token: SecretFile | None = Field(
        None, validation_alias="UNIONCORE_PAGE_WEBHOOK_TOKEN_FILE", description="The file that holds its bearer token."
    )
    slack_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_SLACK_URL_FILE",
        description="Chat in Slack: the file that holds the URL of an incoming webhook.",
    )
    slack_channel: Words = Field(
        "", validation_alias="UNIONCORE_SLACK_CHANNEL", description="The channel, where the webhook leaves the choice."
    )
    mattermost_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_MATTERMOST_URL_FILE",
        description="Chat in Mattermost: the file that holds the URL of an incoming webhook.",
    )
    mattermost_channel: Words = Field(
        "", validation_alias="UNIONCORE_MATTERMOST_CHANNEL", description="The channel; else the webhook's own."
    )
    teams_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_TEAMS_URL_FILE",
        description="Chat in Microsoft Teams: the file that holds the URL of a workflow that posts to a channel.",
    )
    mail_to: Mails = Field(
        "", validation_alias="UNIONCORE_MAIL_TO", description="Mail: who gets it, with commas between the addresses."
    )
    smtp_host: Host = Field(
        "", validation_alias="UNIONCORE_SMTP_HOST", description="The mail server, for mail and for tickets by mail."
    )
    smtp_port: int = Field(587, validation_alias="UNIONCORE_SMTP_PORT", ge=1, le=65535, description="Its port.")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        validation_alias="UNIONCORE_SMTP_TLS",
        description="`starttls`; `tls` from the first byte on (port 465); `none`, for a relay on the same machine.",
    )
    smtp_from: Mail = Field("", validation_alias="UNIONCORE_SMTP_FROM", description="The sender's address.")
    smtp_user: Words = Field(
        "", validation_alias="UNIONCORE_SMTP_USER", description="The login, if the mail server asks for one."
    )
    smtp_password: SecretFile | None = Field(
        None, validation_alias="UNIONCORE_SMTP_PASSWORD_FILE", description="The file that holds the login's password."
    )
    jira_url: Url | None = Field(
        None,
        validation_alias="UNIONCORE_JIRA_URL",
        description="Tickets in Jira: where it is (https://local.atlassian.net).",
    )
    jira_project: Words = Field("", validation_alias="UNIONCORE_JIRA_PROJECT", description="The project's key.")
    jira_issue_type: Words = Field(
        "Task", validation_alias="UNIONCORE_JIRA_ISSUE_TYPE", description="The type of the issues."
    )
    jira_user: Words = Field(
        "",
        validation_alias="UNIONCORE_JIRA_USER",
        description="With Jira Cloud, the mail address that the token belongs to; with Data Center, not set.",
    )
    jira_token: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_JIRA_TOKEN_FILE",
        description="The file that holds the API token (Cloud), or the personal access token (Data Center).",
    )
    jira_priorities: Priorities = Field(
        "",
        validation_alias="UNIONCORE_JIRA_PRIORITIES",
        description="Jira's names for P1 to P4, for a project whose issues have a priority.",
        examples=["Highest,High,Medium,Low"],
    )
    jira_resolve: Words = Field(
        "",
        validation_alias="UNIONCORE_JIRA_RESOLVE_TRANSITION",
        description="The transition that closes an issue whose alert is over (Done); else it stays open.",
    )
    jira_reopen: Words = Field(
        "",
        validation_alias="UNIONCORE_JIRA_REOPEN_TRANSITION",
        description="The transition that reopens a closed issue within 30 days (To Do); else there is a new one.",
    )
    ticket_mail_to: Mails = Field(
        "", validation_alias="UNIONCORE_TICKET_MAIL_TO", description="Tickets by mail: the help desk's address."
    )
    ticket_webhook_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_TICKET_WEBHOOK_URL_FILE",
        description="Tickets by a webhook: the file that holds the URL that gets Alertmanager's own JSON.",
    )
    ticket_webhook_token: SecretFile | None = Field(
        None,
        validation_alias="UNIONCORE_TICKET_WEBHOOK_TOKEN_FILE",
        description="The file that holds its bearer token.",
    )
    heartbeat_url: SecretUrlFile | None = Field(
        None,
        validation_alias="UNIONCORE_HEARTBEAT_URL_FILE",
        description="The dead man's switch: the file that holds the URL that is called about every minute as long as "
        "alerting works. The service behind it tells you when the calls stop.",
    )
    may_go_nowhere: Literal["yes", "no"] = Field(
        "no",
        validation_alias="UNIONCORE_ALERTS_MAY_GO_NOWHERE",
        description="`yes` to render a configuration that tells nobody of a P1.",
    )
    timezone: Annotated[str, AfterValidator(zone_name)] = Field(
        "UTC",
        validation_alias="UNIONCORE_TIMEZONE",
        description="The zone of business hours, and of the times in notifications.",
        examples=["America/Los_Angeles"],
    )
    business_hours: Hours = Field(
        "08:00-17:00",
        validation_alias="UNIONCORE_BUSINESS_HOURS",
        description="When P4 alerts may be told in the chat.",
    )
    business_days: Days = Field(
        "monday:friday",
        validation_alias="UNIONCORE_BUSINESS_DAYS",
        description="On which days, with commas between days or ranges of days.",
    )

    def channels(self) -> dict[str, list[str]]:
        """Return the channels that are configured, each with the names of its integrations."""
        values = {variable_of(field): getattr(self, name) for name, field in type(self).model_fields.items()}
        configured = {
            channel: [integration for variable, integration in variables.items() if values[variable]]
            for channel, variables in CHANNELS.items()
        }
        return {channel: integrations for channel, integrations in configured.items() if integrations}


def load_settings() -> RenderSettings:
    """Read the configuration from the environment.

    Raises:
        ConfigurationError: It can't be used; the message has one line for each error.
    """
    variables = [variable_of(field) for field in RenderSettings.model_fields.values()]
    present = {name for name in variables if os.environ.get(name) or os.environ.get(f"{name}_FILE")}
    problems = [
        f"{name}: a secret is taken from a file only: write it there, and set {name}_FILE to the file's path"
        for name in (variable.removesuffix("_FILE") for variable in variables if variable.endswith("_FILE"))
        if os.environ.get(name)
    ]
    problems += [
        f"{other}: set it too, or unset {name}"
        for name, others in _NEEDS.items()
        for other in others
        if name in present and other not in present
    ]
    clear = _value("UNIONCORE_SMTP_TLS") == "none" and _value("UNIONCORE_SMTP_HOST") not in _LOOPBACK
    if clear and "UNIONCORE_SMTP_PASSWORD_FILE" in present:
        problems.append("UNIONCORE_SMTP_TLS: Alertmanager sends no password without TLS: use starttls or tls")
    if {"UNIONCORE_REMOTE_WRITE_TOKEN_FILE", "UNIONCORE_REMOTE_WRITE_PASSWORD_FILE"} <= present:
        problems.append("UNIONCORE_REMOTE_WRITE_TOKEN_FILE: UNIONCORE_REMOTE_WRITE_PASSWORD_FILE is set too; set one")
    urgent = [variable for channel in _URGENT for variable in CHANNELS[channel]]
    if not present & set(urgent) and _value("UNIONCORE_ALERTS_MAY_GO_NOWHERE") != "yes":
        problems.append(
            f"nobody would be told of a P1: set one of {', '.join(urgent)}, or UNIONCORE_ALERTS_MAY_GO_NOWHERE=yes"
        )
    try:
        settings = load(RenderSettings)
    except ConfigurationError as error:
        raise ConfigurationError("\n".join([str(error), *problems])) from None
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def _value(name: str) -> str:
    return os.environ.get(name, "")
