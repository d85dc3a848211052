"""Alertmanager's routing tree: which alert is told by which channel, and when.

Each channel is a receiver of its own, reached by a route of its own: what one of them repeats, retries or holds back
does not touch the others.
"""

from collections.abc import Collection, Sequence
from typing import Any

from scripts.rendering.levels import LEVELS, TICKET_REPEAT, UNKNOWN, Level
from scripts.rendering.settings import CHANNELS, RenderSettings
from scripts.rendering.values import DAY_MINUTES, minutes, split

HEARTBEAT = "heartbeat"
DISCARD = "discard"
"""The receiver that tells nobody."""

BUSINESS_HOURS = "business-hours"
FAILING = "integration"
"""The label of an alert about notifications that fail: by which integration. Other channels than its own tell it."""

_WATCHDOG = "UnionCoreWatchdog"

_LEAST_DISTURBING_FIRST = ("chat", "mail", "ticket", "page")
_LONGEST_SILENCE = 12 * 60


def plan(level: Level, channels: Collection[str]) -> tuple[str, ...]:
    """Return the channels that a severity is told by; none only if none is configured at all.

    Args:
        level: The severity.
        channels: The channels that are configured.
    """
    chosen = [channel for channel in level.channels if channel in channels]
    # The ticket is what a P3 and a P4 are kept in, at all hours: without one, mail stands in for it.
    if "ticket" in level.channels and "ticket" not in channels and "mail" in channels:
        chosen.append("mail")
    return tuple(chosen or _others((), channels)[:1])


def held_back(level: Level, channel: str) -> bool:
    """Say whether a channel is told only in business hours."""
    return level.respond is None and channel == "chat"


def tree(settings: RenderSettings) -> dict[str, Any]:
    """Return the routing tree."""
    channels = settings.channels()
    return {
        "receiver": (*plan(UNKNOWN, channels), DISCARD)[0],
        "group_by": ["service", "alertname"],
        "routes": [
            _heartbeat(settings),
            *(_level(settings, level, [f'severity="{level.severity}"']) for level in LEVELS),
            _level(settings, UNKNOWN, []),
        ],
    }


def intervals(settings: RenderSettings) -> list[dict[str, Any]]:
    """Return the time intervals."""
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in minutes(settings.business_hours))
    hours = {
        "weekdays": split(settings.business_days),
        "times": [{"start_time": start, "end_time": end}],
        "location": settings.timezone,
    }
    return [{"name": BUSINESS_HOURS, "time_intervals": [hours]}]


def used(route: dict[str, Any]) -> set[str]:
    """Return the receivers that a routing tree leads to."""
    return {route["receiver"]}.union(*(used(child) for child in route.get("routes", [])))


def _heartbeat(settings: RenderSettings) -> dict[str, Any]:
    return {
        "matchers": [f'alertname="{_WATCHDOG}"'],
        "receiver": HEARTBEAT if settings.heartbeat_url else DISCARD,
        "group_wait": "0s",
        # Looked at twice as often as it is said: a look that comes a little early costs half a minute, not a minute.
        "group_interval": "30s",
        "repeat_interval": "1m",
    }


def _level(settings: RenderSettings, level: Level, matchers: Sequence[str]) -> dict[str, Any]:
    channels = settings.channels()
    chosen = plan(level, channels)
    route: dict[str, Any] = {"matchers": list(matchers)} if matchers else {}
    # Reached by an alert that says of all of the severity's channels that they fail.
    route["receiver"] = (*_others(chosen, channels), *chosen, DISCARD)[0]
    route |= {"group_wait": level.wait, "group_interval": level.interval, "repeat_interval": level.repeat}
    route["routes"] = [_told(settings, level, channel) | {"continue": True} for channel in chosen]
    if chosen:
        del route["routes"][-1]["continue"]
    else:
        del route["routes"]
    return route


def _told(settings: RenderSettings, level: Level, channel: str) -> dict[str, Any]:
    """Return the route to a channel."""
    failing = "|".join(settings.channels()[channel])
    route: dict[str, Any] = {"matchers": [f'{FAILING}!~"{failing}"'], "receiver": channel}
    if channel == "ticket":
        route["repeat_interval"] = TICKET_REPEAT
    if held_back(level, channel):
        route["active_time_intervals"] = [BUSINESS_HOURS]
        route["repeat_interval"] = f"{_night(settings)}m"
    return route


def _night(settings: RenderSettings) -> int:
    """Return how often a channel with business hours is told again, in minutes.

    Alertmanager drops a resolve that falls into a muted time, and goes on believing that the channel knows of the
    alert: if it fires again, it is silent until the repeat interval is over. One that is no longer than the night
    makes sure that in the morning everything that is firing is told.
    """
    start, end = minutes(settings.business_hours)
    night = DAY_MINUTES - (end - start)
    return min(night, _LONGEST_SILENCE) or _LONGEST_SILENCE


def _others(chosen: Collection[str], channels: Collection[str]) -> list[str]:
    return [channel for channel in _LEAST_DISTURBING_FIRST if channel in channels and channel not in chosen]


def summary(settings: RenderSettings) -> dict[str, list[str]]:
    """Return by which channels each priority is told."""
    return {level.priority: list(plan(level, settings.channels())) for level in LEVELS}


def warnings(settings: RenderSettings) -> list[str]:
    """Return what an operator should know of what is not configured."""
    channels = settings.channels()
    said = []
    if not channels:
        return ["no channel is configured: alerts reach nobody"]
    if "page" not in channels:
        said.append(f"no page is configured: nobody is woken by a P1; set one of {', '.join(CHANNELS['page'])}")
    if len(channels) == 1:
        said.append("only one channel is configured: nothing else can tell that it fails")
    if "ticket" not in channels and "mail" not in channels:
        said.append("neither tickets nor mail are configured: P3 and P4 are kept nowhere")
    if not settings.heartbeat_url:
        said.append("UNIONCORE_HEARTBEAT_URL_FILE is not set: nobody notices if alerting itself stops")
    if not settings.application_url:
        said.append("UNIONCORE_URL is not set: UnionCore itself is not probed")
    return said
