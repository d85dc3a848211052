"""Grafana's dashboards: what the project brings along, with the site's runbooks."""

import json
from pathlib import Path

from scripts.rendering.settings import RenderSettings

SOURCE = Path(__file__).parents[2] / "grafana" / "dashboards"


def dashboards(settings: RenderSettings) -> dict[str, str]:
    """Return each dashboard's JSON by the name of its file.

    Raises:
        OSError: What the project brings along is not there.
    """
    return {path.name: _with_runbooks(path.read_text(encoding="utf-8"), settings) for path in sorted(SOURCE.iterdir())}


def _with_runbooks(text: str, settings: RenderSettings) -> str:
    dashboard = json.loads(text)
    for variable in dashboard["templating"]["list"]:
        if variable["name"] == "runbooks":
            url = settings.runbooks_url.rstrip("/")
            variable |= {"query": url, "current": {"selected": True, "text": url, "value": url}}
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
