"""The schedule: one plan, from which cron, systemd and the jobs' container get their times."""

import asyncio
import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from click.testing import CliRunner
from cronsim import CronSim

from scripts.run_schedule import command
from scripts.schedule import runner
from scripts.schedule.plan import SCHEDULE, calendar, units
from scripts.schedule.runner import Schedule
from tests.scripts.running import ROOT

EVERY_SECOND = "* * * * * *"


def schedule(directory: Path, script: str, *, times: dict[str, str] | None = None) -> Schedule:
    """A schedule whose program is a shell script, which is given the command's words."""
    return Schedule(
        times or {"job latest": EVERY_SECOND},
        ZoneInfo("UTC"),
        heartbeat=directory / "spool" / "alive",
        log=structlog.get_logger(),
        program=("/bin/sh", "-c", script, "sh"),
    )


async def until(found: Callable[[], Any], running: asyncio.Task[None]) -> None:
    while not found():
        assert not running.done()
        await asyncio.sleep(0.05)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_a_job_runs_at_its_times_and_never_beside_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = schedule(tmp_path, f'echo "begins $*" >>{log}; sleep 1.2; echo ends >>{log}')
    running = asyncio.create_task(work.run())
    await until(lambda: len(lines(log)) >= 4, running)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert lines(log)[:4] == ["begins job latest", "ends", "begins job latest", "ends"]
    assert (tmp_path / "spool" / "alive").exists()


async def test_told_to_end_it_tells_its_jobs_and_waits_until_they_have_cleaned_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"trap 'sleep 0.5; echo cleaned >>{log}; exit 143' TERM; echo begins >>{log}; while :; do sleep 0.1; done"
    running = asyncio.create_task(schedule(tmp_path, script).run())
    await until(lambda: lines(log), running)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert lines(log) == ["begins", "cleaned"]


async def test_now_runs_every_job_once_before_its_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    times = {"one": "0 0 1 1 *", "two": "0 0 1 1 *"}
    running = asyncio.create_task(schedule(tmp_path, f"echo $1 >>{log}; exit 1", times=times).run(now=True))
    await until(lambda: len(lines(log)) == 2, running)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert lines(log) == ["one", "two"]


async def test_a_heartbeat_that_fails_comes_back_and_a_job_that_cannot_be_started_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 0.05)
    spool = tmp_path / "spool"
    spool.write_text("not a directory")
    work = schedule(tmp_path, "")
    work._program = (str(tmp_path / "missing"),)
    running = asyncio.create_task(work.run())
    await asyncio.sleep(2.5)
    assert not running.done()
    spool.unlink()
    await until((spool / "alive").exists, running)
    log = tmp_path / "log"
    work._program = ("/bin/sh", "-c", f"echo begins >>{log}")
    await until(lambda: lines(log), running)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_a_clock_that_was_ahead_when_it_began_makes_it_miss_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 0.05)
    log = tmp_path / "log"
    work = schedule(tmp_path, f"echo begins >>{log}")
    ahead = [timedelta(days=60)] * 3
    monkeypatch.setattr(work, "_now", lambda: datetime.now(UTC) + (ahead.pop() if ahead else timedelta()))
    running = asyncio.create_task(work.run())
    await until(lambda: lines(log), running)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


@pytest.mark.parametrize(
    ("after", "made_up"), [(timedelta(hours=-30), True), (timedelta(minutes=-1), False), (timedelta(days=9), False)]
)
async def test_a_run_that_was_missed_is_made_up_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: timedelta, made_up: bool
) -> None:
    monkeypatch.setattr(runner, "CATCH_UP", timedelta(seconds=0.1))
    began(tmp_path, after)
    log = tmp_path / "log"
    for _ in range(2):
        running = asyncio.create_task(schedule(tmp_path, f"echo $2 >>{log}", times=daily()).run())
        await asyncio.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert lines(log) == ["latest"] * made_up


async def test_the_first_start_has_missed_nothing_and_a_run_that_is_ended_with_the_schedule_has_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CATCH_UP", timedelta(seconds=0.1))
    log = tmp_path / "log"
    for count in range(3):
        work = schedule(tmp_path, f"echo begins >>{log}; exec sleep 60", times=daily())
        running = asyncio.create_task(work.run())
        await asyncio.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
        assert lines(log) == ["begins"] * count
        if not count:
            began(tmp_path, timedelta(hours=-30))


class Simulated(Schedule):
    """A schedule by a clock of its own, on which a job takes a minute.

    Args:
        directory: Where it keeps its files.
        cron: The job's time.
        zone: Its zone.
        start: When it begins.
        end: When it is over.
    """

    def __init__(self, directory: Path, cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        super().__init__({"job": cron}, zone, heartbeat=directory / "alive", log=structlog.get_logger())
        self.clock = start
        self.began: list[datetime] = []
        self._over = end

    def _now(self) -> datetime:
        return self.clock

    async def _ended_within(self, seconds: float) -> bool:
        self.clock += timedelta(seconds=seconds)
        return self.clock >= self._over

    async def _execute(self, command: str) -> None:
        self.began.append(self.clock.astimezone(self._zone))
        self._touch(self._stamp(command))
        if await self._ended_within(60):
            self._ending.set()

    def _touch(self, path: Path) -> None:
        path.touch()
        os.utime(path, (self.clock.timestamp(), self.clock.timestamp()))


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/Los_Angeles", date(2026, 3, 8)),
        ("America/Los_Angeles", date(2026, 11, 1)),
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("Australia/Lord_Howe", date(2026, 4, 5)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
    ],
)
async def test_a_job_with_a_fixed_time_runs_once_on_the_day_that_the_clock_is_changed_as_on_every_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, change: date
) -> None:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 300)
    midnight = datetime.combine(change, time(), ZoneInfo(zone))
    days = [(midnight + timedelta(days=number)).date() for number in (-1, 0, 1)]
    for quarter in range(16):
        directory = tmp_path / str(quarter)
        directory.mkdir()
        start, end = ((midnight + timedelta(days=number)).astimezone(UTC) for number in (-1, 2))
        cron = f"{quarter % 4 * 15} {quarter // 4} * * *"
        work = Simulated(directory, cron, ZoneInfo(zone), start - timedelta(seconds=1), end)
        await work._repeat("job", cron)
        assert [moment.date() for moment in work.began] == days, (cron, work.began)


def daily() -> dict[str, str]:
    """A job that is due once a day, and was so five minutes ago."""
    due = datetime.now(UTC) - timedelta(minutes=5)
    return {"job latest": f"{due.minute} {due.hour} * * *"}


def began(directory: Path, after: timedelta) -> None:
    """Say that its last run began so long from now."""
    stamp = directory / "spool" / "schedule.job.began"
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()
    at = (datetime.now(UTC) + after).timestamp()
    os.utime(stamp, (at, at))


def test_a_time_that_is_none_is_an_error_that_names_the_variable() -> None:
    wrong = {"UNIONCORE_SCHEDULE_BACKUP": "at two", "UNIONCORE_SCHEDULE_VERIFY": "0 25 * * *"}
    result = CliRunner().invoke(command, env=wrong)
    assert result.exit_code == 2
    for name in ("BACKUP", "VERIFY"):
        assert f"UNIONCORE_SCHEDULE_{name}: must be a time as in a crontab" in result.stderr


@pytest.mark.parametrize("entry", SCHEDULE, ids=lambda entry: entry.job)
def test_crontab_and_timer_say_the_same_time(entry: Any) -> None:
    (line,) = re.findall(
        f"^{re.escape(entry.cron)}  .* unioncore-ops {entry.command};",
        (ROOT / "scripts" / "crontab.example").read_text(),
        re.MULTILINE,
    )
    assert line
    files = dict(units())
    timer = files[f"unioncore-{entry.job}.timer"]
    assert f"OnCalendar={calendar(entry.cron)}\n" in timer
    assert f"/unioncore-ops {entry.command}\n" in files[f"unioncore-{entry.job}.service"]
    due = next(CronSim(entry.cron, datetime(2026, 11, 25, tzinfo=UTC)))
    match = re.fullmatch(r"(?:(\w{3}) )?\*-\*-\* (\d\d):(\d\d):00", calendar(entry.cron))
    assert match
    assert match[1] in (None, f"{due:%a}")
    assert (int(match[2]), int(match[3])) == (due.hour, due.minute)


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 2 1 * *", "0 2 * 6 *"])
def test_a_time_that_no_timer_here_can_be_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="can be a timer's"):
        calendar(cron)
