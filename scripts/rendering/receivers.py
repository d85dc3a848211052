"""Alertmanager's receivers, one a channel, each with every service that is configured for it.

Every service takes its secret from a file: PagerDuty, Opsgenie, Slack, Mattermost, Teams, webhooks and SMTP by an
option of their own; Jira, which has none, by the files of `http_config`.
"""

from pathlib import Path
from typing import Any

from scripts.rendering.levels import LEVELS, by_severity
from scripts.rendering.routing import DISCARD, HEARTBEAT
from scripts.rendering.settings import RenderSettings
from scripts.rendering.values import split

_Config = dict[str, Any]

_PROXY: _Config = {"proxy_from_environment": True}
_ATTEMPT = "10s"  # a receiver that hangs is tried again well within any group_interval
_LINKS = ("Runbook", "Dashboard", "Silence")
_PAGERDUTY_SEVERITIES = ("critical", "error", "warning", "info")


def receivers(settings: RenderSettings, names: set[str]) -> list[_Config]:
    """Return the receivers.

    Args:
        settings: The configuration.
        names: The receivers that the routing tree leads to.
    """
    configs = {
        "page": _page(settings),
        "chat": _chat(settings),
        "mail": {"email_configs": [_mail(settings.mail_to)]},
        "ticket": _ticket(settings),
        HEARTBEAT: {
            "webhook_configs": [_webhook(settings.heartbeat_url, None) | {"send_resolved": False, "max_alerts": 1}]
        },
        DISCARD: {},
    }
    return [{"name": name} | config for name, config in configs.items() if name in names]


def common(settings: RenderSettings) -> _Config:
    """Return the section `global`."""
    section: _Config = {"resolve_timeout": "5m", "http_config": dict(_PROXY)}
    if settings.smtp_host:
        section |= {
            "smtp_smarthost": f"{settings.smtp_host}:{settings.smtp_port}",
            "smtp_from": f"UnionCore alerts <{settings.smtp_from}>",
            "smtp_hello": settings.smtp_from.rpartition("@")[2],
            "smtp_require_tls": settings.smtp_tls != "none",
        }
        if settings.smtp_tls == "tls":
            section["smtp_force_implicit_tls"] = True
        if settings.smtp_password:
            section["smtp_auth_username"] = settings.smtp_user
            section["smtp_auth_password_file"] = str(settings.smtp_password)
    return section


def _template(name: str) -> str:
    return f'{{{{ template "unioncore.{name}" . }}}}'


def _page(settings: RenderSettings) -> _Config:
    config: _Config = {}
    if settings.pagerduty_key:
        pagerduty = {
            "routing_key_file": str(settings.pagerduty_key),
            "url": settings.pagerduty_url,
            "description": _template("page.title"),
            "severity": by_severity(_PAGERDUTY_SEVERITIES, otherwise="error"),
            "component": "{{ .CommonLabels.service }}",
            "class": "{{ .CommonLabels.alertname }}",
            "client": "UnionCore alerts",
            "client_url": _template("dashboard"),
            # The two that are there without being asked for, of everything known of each alert, are replaced.
            "details": {"firing": _template("page.text"), "resolved": "{{ .Alerts.Resolved | len }}"},
            "links": [{"text": link, "href": _template(link.lower())} for link in _LINKS],
            "timeout": _ATTEMPT,
        }
        config["pagerduty_configs"] = [pagerduty]
    if settings.opsgenie_key:
        opsgenie = {
            "api_key_file": str(settings.opsgenie_key),
            "api_url": f"{settings.opsgenie_url}/",
            "message": _template("page.title"),
            "description": _template("page.text"),
            "priority": "{{ .CommonLabels.priority }}",
            "entity": "{{ .CommonLabels.service }}",
            "details": {link: _template(link.lower()) for link in _LINKS},
            "update_alerts": True,
        }
        if settings.opsgenie_team:
            opsgenie["responders"] = [{"type": "team", "name": settings.opsgenie_team}]
        config["opsgenie_configs"] = [opsgenie]
    if settings.page_webhook_url:
        config["webhook_configs"] = [_webhook(settings.page_webhook_url, settings.page_webhook_token)]
    return config


def _chat(settings: RenderSettings) -> _Config:
    config: _Config = {}
    if settings.slack_url:
        slack = {
            "api_url_file": str(settings.slack_url),
            "send_resolved": True,
            "color": _template("color"),
            "title": _template("title"),
            "title_link": _template("dashboard"),
            "fallback": _template("title"),
            "text": _template("slack"),
            "actions": [{"type": "button", "text": link, "url": _template(link.lower())} for link in _LINKS],
            "timeout": _ATTEMPT,
        }
        config["slack_configs"] = [slack | _optional(channel=settings.slack_channel)]
    if settings.mattermost_url:
        mattermost = {
            "webhook_url_file": str(settings.mattermost_url),
            "color": _template("color"),
            "title": _template("title"),
            "title_link": _template("dashboard"),
            "fallback": _template("title"),
            "text": _template("mattermost"),
        }
        config["mattermost_configs"] = [mattermost | _optional(channel=settings.mattermost_channel)]
    if settings.teams_url:
        teams = {
            "webhook_url_file": str(settings.teams_url),
            "title": _template("title"),
            "text": _template("teams"),
        }
        config["msteamsv2_configs"] = [teams]
    return config


def _ticket(settings: RenderSettings) -> _Config:
    config: _Config = {}
    if settings.jira_url:
        config["jira_configs"] = [_jira(settings, settings.jira_url)]
    if settings.ticket_mail_to:
        config["email_configs"] = [_mail(settings.ticket_mail_to)]
    if settings.ticket_webhook_url:
        config["webhook_configs"] = [_webhook(settings.ticket_webhook_url, settings.ticket_webhook_token)]
    return config


def _jira(settings: RenderSettings, url: str) -> _Config:
    token = str(settings.jira_token)
    if settings.jira_user:
        login: _Config = {"basic_auth": {"username": settings.jira_user, "password_file": token}}
    else:
        login = {"authorization": {"credentials_file": token}}
    priorities = split(settings.jira_priorities)
    jira = {
        "api_url": f"{url}/rest/api/2/",
        "project": settings.jira_project,
        "issue_type": settings.jira_issue_type,
        "summary": _template("title"),
        "description": _template("jira"),
        # Alertmanager's own default names priorities that a project may lack, and Jira refuses the issue then.
        "priority": by_severity(priorities, otherwise=priorities[1]) if priorities else "",
        "labels": ["unioncore", by_severity([level.priority for level in LEVELS], otherwise="unioncore")],
        "http_config": _PROXY | login,
    }
    if settings.jira_reopen:
        jira["reopen_duration"] = "30d"
    return jira | _optional(resolve_transition=settings.jira_resolve, reopen_transition=settings.jira_reopen)


def _mail(to: str) -> _Config:
    return {
        "to": to,
        "send_resolved": True,
        "headers": {
            "Subject": _template("title"),
            "X-Priority": '{{ if eq .CommonLabels.severity "critical" }}1{{ else }}3{{ end }}',
        },
        "html": _template("mail.html"),
        "text": _template("mail.text"),
        "threading": {"enabled": True, "thread_by_date": "daily"},
    }


def _webhook(url: Path | None, token: Path | None) -> _Config:
    webhook: _Config = {"url_file": str(url), "timeout": _ATTEMPT}
    if token:
        webhook["http_config"] = _PROXY | {"authorization": {"credentials_file": str(token)}}
    return webhook


def _optional(**options: str) -> _Config:
    return {name: value for name, value in options.items() if value}
