"""The one template that differs by site: response times by severity, and moments in the site's own time zone."""

from collections.abc import Callable

from scripts.rendering.levels import LEVELS, UNKNOWN, Level, by_severity
from scripts.rendering.settings import RenderSettings

_NANOSECONDS = 10**9


def template(settings: RenderSettings) -> str:
    """Return the definitions that the other templates build on.

    `unioncore.level` and `unioncore.priority` take the notification's data, `unioncore.by` an alert, `unioncore.moment`
    and `unioncore.hour` a time.
    """
    definitions = {
        "level": _each(lambda level: f"{level.priority} {level.severity.upper()}"),
        "priority": _each(lambda level: level.priority),
        "by": by_severity(
            [_deadline(level) for level in LEVELS], otherwise=_deadline(UNKNOWN), severity=".Labels.severity"
        ),
        "moment": _moment(settings, "Mon Jan 2, 3:04 PM MST"),
        "hour": _moment(settings, "Mon 3:04 PM MST"),
    }
    return "".join(f'{{{{ define "unioncore.{name}" }}}}{text}{{{{ end }}}}\n' for name, text in definitions.items())


def _each(write: Callable[[Level], str]) -> str:
    return by_severity([write(level) for level in LEVELS], otherwise=write(UNKNOWN))


def _moment(settings: RenderSettings, layout: str) -> str:
    return f'{{{{ . | tz "{settings.timezone}" | date "{layout}" }}}}'


def _deadline(level: Level) -> str:
    if level.respond is None:
        return "on the next business day"
    return f'by {{{{ template "unioncore.hour" (.StartsAt.Add {level.respond * _NANOSECONDS}) }}}}'
