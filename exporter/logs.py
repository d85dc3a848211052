"""Logging: one line an event, logfmt or JSON; a failure once when it begins, and once when it ends."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

# structlog loads rich, where it is installed, for coloured tracebacks; here that is 5 MB for nothing. A module
# that is None can't be imported; afterwards it can again.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402 - see above

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich

get_logger = structlog.get_logger

LogFormat = Literal["logfmt", "json"]


def configure(
    log_format: LogFormat,
    level: str,
    *,
    ours: str = "exporter",
    libraries: str = "info",
    terminal: logging.Handler | None = None,
) -> None:
    """Send all logging, the libraries' too, to standard error.

    Args:
        log_format: How a line is written.
        level: The least level that is written (`debug`, `info`, `warning`, `error`).
        ours: The logger of our own lines.
        libraries: The least level that is written of all others, if that is higher: theirs for debugging hold what no
            log may, such as the session token that botocore signs requests with.
        terminal: What shows the lines to a person instead, with the time and the level as it likes.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any
    if terminal:
        renderer = _for_a_person
    elif log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    handler = terminal or logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _one_line, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelNamesMapping()[one.upper()] for one in (level, libraries)))
    logging.getLogger(ours).setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _one_line(_logger: object, _method: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value.replace("\n", "\\n") if isinstance(value, str) else value for key, value in event.items()}


def _for_a_person(logger: object, method: str, event: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in event.items() if key not in {"event", "level", "logger", "timestamp"}}
    return f"{event['event']}  {structlog.processors.LogfmtRenderer()(logger, method, facts)}".rstrip()


class Incidents:
    """What is wrong at the moment; each thing is logged when it begins and when it ends."""

    def __init__(self) -> None:
        self._log = get_logger("exporter")
        self._open: dict[str, str] = {}

    def report(self, what: str, error: str | None) -> None:
        """Say how something is.

        Args:
            what: The thing, as it stands in the log.
            error: What is wrong with it; None if nothing is.
        """
        before = self._open.get(what)
        if error is not None and before is None:
            self._log.error("failure begins", what=what, error=error)
            self._open[what] = error
        elif error is None and before is not None:
            self._log.info("failure ends", what=what)
            del self._open[what]
