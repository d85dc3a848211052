"""`make dashboards`: writes grafana/dashboards/, which Grafana provisions."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.alerting.model import DASHBOARDS

if TYPE_CHECKING:
    from grafana.layout import Board

DIRECTORY = Path(__file__).with_name("dashboards")


class _Encoder(JSONEncoder):
    """Encodes the SDK's models, but for the place that they give all links and annotations: out of sight, in a menu."""

    def default(self, obj: Any) -> Any:
        value = super().default(obj)
        if isinstance(value, dict) and value.get("placement") == "inControlsMenu":
            del value["placement"]
        return value


def boards() -> list[Board]:
    """Return every dashboard, in the order of `DASHBOARDS`."""
    return [import_module(f"grafana.boards.{name}").BOARD for name in DASHBOARDS]


def render() -> dict[str, str]:
    """Return the dashboards' JSON by the file's name."""
    encoder = _Encoder(indent=2, sort_keys=True, ensure_ascii=False)
    return {f"{board.name}.json": encoder.encode(board.build()) + "\n" for board in boards()}


@click.command()
def main() -> None:
    """Write grafana/dashboards/."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in render().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
        click.echo(f"grafana/dashboards/{name}")


if __name__ == "__main__":
    main()
