"""The plan: which job runs when, and the crontab and the systemd units that say the same.

The files are made by `make docs`: change them here.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A job on the schedule.

    Attributes:
        command: What `unioncore-ops` is given.
        cron: When, as in a crontab: minute, hour, day of the month, month, day of the week.
        title: What it does, in a few words.
    """

    command: str
    cron: str
    title: str

    @property
    def job(self) -> str:
        """The job's name."""
        return self.command.partition(" ")[0]


SCHEDULE = (
    Entry("backup", "0 2 * * *", "backup of the database"),
    Entry("verify latest", "0 3 * * 6", "restore of the newest backup, to prove it"),
    Entry("archive", "0 3 * * 0", "archive of old audit events"),
    Entry("cleanup", "0 4 * * *", "cleanup of old sessions and tokens"),
)

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_PROGRAMS = "/opt/unioncore-observability/.venv/bin"
_SETTINGS = "/etc/unioncore/environment"


def crontab() -> str:
    """Return scripts/crontab.example."""
    lines = "".join(
        f"{entry.cron}  {{ set -a; . {_SETTINGS}; unioncore-ops {entry.command}; }} 2>&1 | logger -t unioncore-ops\n"
        for entry in SCHEDULE
    )
    return f"""\
# UnionCore's operations jobs, for `crontab -e` of the user that runs them. Times are the machine's.
# Made by `make docs` from scripts/schedule/plan.py.
#
# Settings are in {_SETTINGS} (docs/install.md, docs/configuration.md), and nowhere else: a job without
# that file does not begin. What a job says goes to the system's log (journalctl -t unioncore-ops), its result as one
# JSON line last; the exporter is told too, and alerts come from there. A job that meets another run of itself ends
# with 3 and does nothing. UnionCore's own health is not looked at from here: Prometheus probes it.
SHELL=/bin/sh
PATH={_PROGRAMS}:/usr/local/bin:/usr/bin:/bin

# minute hour day-of-month month day-of-week command
{lines}"""


def units() -> Iterator[tuple[str, str]]:
    """Yield the systemd units, two for each job: the name of the file and its text."""
    for entry in SCHEDULE:
        yield f"unioncore-{entry.job}.service", _service(entry)
        yield f"unioncore-{entry.job}.timer", _timer(entry)


def calendar(cron: str) -> str:
    """Return a crontab's time as systemd's `OnCalendar=` has it.

    Args:
        cron: Minute and hour as numbers, every day or one day of the week.

    Raises:
        ValueError: It is of another kind.
    """
    minute, hour, *date, weekday = cron.split()
    if date != ["*", "*"] or not (minute + hour).isdecimal():
        raise ValueError(f"{cron}: only a time of the day, on every day or on one of the week, can be a timer's")
    day = "" if weekday == "*" else f"{_DAYS[int(weekday)]} "
    return f"{day}*-*-* {int(hour):02}:{int(minute):02}:00"


def _service(entry: Entry) -> str:
    return f"""\
# Made by `make docs` from scripts/schedule/plan.py.
[Unit]
Description=UnionCore: {entry.title}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User=unioncore
EnvironmentFile={_SETTINGS}
ExecStart={_PROGRAMS}/unioncore-ops {entry.command}
SyslogIdentifier=unioncore-ops
Nice=10
# The job has a time limit of its own; told to end, it cleans up within a minute.
TimeoutStartSec=infinity
TimeoutStopSec=90
UMask=0077
ReadWritePaths=/var/backups/unioncore
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictSUIDSGID=yes
LockPersonality=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
"""


def _timer(entry: Entry) -> str:
    return f"""\
# Made by `make docs` from scripts/schedule/plan.py.
[Unit]
Description=UnionCore: {entry.title}, on its schedule

[Timer]
OnCalendar={calendar(entry.cron)}
# A run that was missed because the machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""
