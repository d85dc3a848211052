"""Business hours: the chat keeps them for a P4, and nothing and nobody else does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from scripts.dev.sink import Sink
from scripts.rendering.routing import BUSINESS_HOURS, intervals
from scripts.rendering.settings import load_settings
from tests.alertmanager.alerting import CHAT, CONFIG, MAIL, PAGE, TICKET, Site, hurry, running, told, until

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALL_DAYS = "sunday:saturday"


def closed(site: Site) -> Site:
    """Set business hours that are the day after tomorrow, UTC."""
    day = _DAYS[(datetime.now(UTC) + timedelta(days=2)).weekday()]
    return site.set(TIMEZONE="UTC", BUSINESS_DAYS=day, BUSINESS_HOURS="00:00-24:00")


def test_outside_business_hours_a_p4_is_a_ticket_only_and_its_resolve_arrives(site: Site, sink: Sink) -> None:
    with running(closed(site.everything(sink)).rendered() / CONFIG) as alerts:
        alerts.fire("Minor", "low")
        alerts.fire("Offline", "critical")
        until(lambda: told(sink, "Minor", "firing") == dict.fromkeys(TICKET, 1))
        alerts.resolve("Minor")
        until(lambda: told(sink, "Minor", "resolved") == dict.fromkeys(TICKET, 1))
        assert set(told(sink, "Minor")) == TICKET
        assert set(told(sink, "Offline")) == PAGE | CHAT | MAIL


def test_when_business_opens_the_chat_is_told_what_still_fires_and_what_fires_again(site: Site, sink: Sink) -> None:
    config = closed(site.everything(sink)).rendered() / CONFIG
    with running(config) as alerts:

        def change(site: Site) -> None:
            site.rendered()
            hurry(config)
            # A night is shorter than it is for people: what was told before it must be told again after it.
            config.write_text(config.read_text().replace("repeat_interval: 360000ms", "repeat_interval: 100ms"))
            alerts.server.request("POST", "/-/reload")

        alerts.fire("Nightly", "low")
        until(lambda: told(sink, "Nightly", "firing") == dict.fromkeys(TICKET, 1))
        change(site.set(BUSINESS_DAYS=_ALL_DAYS))
        until(lambda: set(told(sink, "Nightly", "firing")) == CHAT | TICKET)

        change(closed(site))
        alerts.resolve("Nightly")
        until(lambda: set(told(sink, "Nightly", "resolved")) >= TICKET)
        sink.clear()
        alerts.fire("Nightly", "low")
        change(site.set(BUSINESS_DAYS=_ALL_DAYS))
        until(lambda: set(told(sink, "Nightly", "firing")) >= CHAT)


def test_at_every_time_of_day_alertmanager_agrees_on_what_business_hours_are(
    site: Site, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One route for each of 26 time zones: at this moment it is every hour of the day in one of them."""
    zones = [f"Etc/GMT{offset:+}" for offset in range(-13, 13)]
    named, routes = [], []
    for zone in zones:
        for name, value in site.set(ALERTS_MAY_GO_NOWHERE="yes", TIMEZONE=zone).environment().items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        (interval,) = intervals(load_settings())
        named.append(interval | {"name": zone})
        routes.append({"receiver": zone, "active_time_intervals": [zone], "continue": True})
    assert interval["name"] == BUSINESS_HOURS
    config = tmp_path / "alertmanager.yml"
    receivers = [{"name": zone, "webhook_configs": [{"url": f"{sink.url}/zone/{zone}"}]} for zone in zones]
    root = {"receiver": "none", "group_wait": "10ms", "group_interval": "1h", "routes": routes}
    content = {"route": root, "time_intervals": named, "receivers": [{"name": "none"}, *receivers]}
    config.write_text(yaml.safe_dump(content))

    def open_at(moment: datetime) -> set[str]:
        local = {zone: moment.astimezone(ZoneInfo(zone)) for zone in zones}
        return {zone for zone, time in local.items() if time.weekday() < 5 and 8 <= time.hour < 17}

    with running(config) as alerts:
        before = datetime.now(UTC)
        alerts.fire("Any", "low")
        until(lambda: alerts.metric("alertmanager_notifications_suppressed_total") >= len(zones) - len(open_at(before)))
        until(
            lambda: (
                {item.content["receiver"] for item in sink.received("zone")}
                >= {_quoted(zone) for zone in open_at(before)}
            )
        )
        after = datetime.now(UTC)
    heard = {item.content["receiver"] for item in sink.received("zone")}
    assert heard in ({_quoted(zone) for zone in open_at(before)}, {_quoted(zone) for zone in open_at(after)})


def _quoted(zone: str) -> str:
    """Return a receiver's name as Alertmanager writes it: with what means something in a regular expression escaped."""
    return zone.replace("+", "\\+")
