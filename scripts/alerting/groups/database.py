"""The database server, as the exporter and postgres_exporter see it."""

from scripts.alerting.groups.probes import DATABASE_OUT, DATABASE_UNSEEN, EXPORTER, POSTGRES
from scripts.alerting.model import Alert, Group, Record, Severity, duration, lines, number, seen, words
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_SIZE = "instance:pg_database_size_bytes:sum"
_NOW, _YESTERDAY = seen(_SIZE), seen(_SIZE, offset="1d")
_TRANSACTION = (
    f'pg_stat_activity_max_tx_duration{{{POSTGRES},application_name!~"unioncore-ops/.*",backend_type="client backend"}}'
)
DISK = "unioncore:database_disk:bytes"
"""The size of the database's disk, which no exporter can see on a managed server: the site tells."""

# `for` and `keep_firing_for`: see UnionCoreDown.
OUTAGE = Group(
    "unioncore-database-outage",
    [
        Alert(
            name="UnionCoreDatabaseDown",
            # Read over a minute, though `for` is shorter: the page must come within a minute, and a scrape that fails
            # between two that a hanging database keeps for 9 s each hides its answer for 45 s. Only if nobody else can
            # use the database: this holds back the alerts of an outage, and somebody may have silenced it.
            expr=DATABASE_OUT,
            wait="30s",
            keep="2m",
            severity=Severity.CRITICAL,
            service="database",
            summary="UnionCore's database does not answer",
            description="The database has not answered the exporter {{ $labels.instance }} for at least 30 seconds: it "
            "is stopped, hangs, can't be reached, or refuses the login. UnionCore can't work without it.",
            dashboard="service",
        ),
    ],
    interval="5s",
)

DATABASE = Group(
    "unioncore-database",
    [
        Record("instance:pg_stat_activity_count:sum", f"sum by (instance) (pg_stat_activity_count{{{POSTGRES}}})"),
        # pg_settings_reserved_connections is there from PostgreSQL 16 on only.
        Record(
            "instance:pg_settings_max_connections:usable",
            lines(
                f"sum by (instance) (pg_settings_max_connections{{{POSTGRES}}})",
                f'- sum by (instance) ({{__name__=~"pg_settings_(superuser_)?reserved_connections",{POSTGRES}}})',
            ),
        ),
        Record(
            "instance:pg_connections:ratio",
            "instance:pg_stat_activity_count:sum / instance:pg_settings_max_connections:usable",
        ),
        Record(_SIZE, f"sum by (instance) (pg_database_size_bytes{{{POSTGRES}}})"),
        Alert(
            name="UnionCoreDatabaseUnwatched",
            # An exporter that can't be scraped is told of as that.
            expr=lines("absent(unioncore_up)", f"and on () max_over_time(up{{{EXPORTER}}}[5m]) == 1"),
            wait="5m",
            keep="5m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Nobody watches whether the database is up",
            description="The exporter can be scraped, but for at least 5 minutes it has not said whether the database "
            "answers (unioncore_up). An outage of the database would not be noticed here.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreDatabaseUnseen",
            expr=DATABASE_UNSEEN,
            wait="2m",
            keep="5m",
            severity=Severity.HIGH,
            service="exporter",
            summary="The exporter can't use the database, though UnionCore can",
            description="The database has not answered the exporter {{ $labels.instance }} for at least 2 minutes, "
            "though UnionCore, or another exporter, can use it: this exporter's login, its network or its settings are "
            "broken. The database, the audit log and the dues are not watched from there.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreDatabaseConnectionsHigh",
            expr=f"{seen('instance:pg_connections:ratio')} > {LIMITS.connections}",
            wait="5m",
            keep="5m",
            severity=Severity.HIGH,
            service="database",
            summary="The database is running out of connections",
            description="{{ $value | humanizePercentage }} of the connections that the database behind "
            "{{ $labels.instance }} allows are taken, for at least 5 minutes; "
            f"more than {LIMITS.connections:.0%} is too near to the limit. "
            "At the limit UnionCore can't log anybody in.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreDatabaseDeadlocks",
            expr=f"increase(pg_stat_database_deadlocks{{{POSTGRES}}}[15m]) > {number(LIMITS.deadlocks)}",
            wait="1m",
            keep="15m",
            severity=Severity.MEDIUM,
            service="database",
            summary="Transactions in the database block each other for good",
            description='About {{ printf "%.0f" $value }} deadlocks in the database {{ $labels.datname }} within '
            "15 minutes. PostgreSQL ends one of the two transactions each time: somebody's change was lost with an "
            "error.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreDatabaseLongTransaction",
            # The operations jobs have time limits of their own.
            expr=lines(
                "max by (instance, datname, usename, application_name, state) (",
                "  " + seen(_TRANSACTION, "2m"),
                f") > {duration(LIMITS.transaction)}",
            ),
            wait="2m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="database",
            summary="A transaction in the database is open for too long",
            description='{{ with $labels.application_name }}"{{ . }}"{{ else }}A program without a name{{ end }} '
            "(user {{ $labels.usename }}) has had a transaction open in {{ $labels.datname }} for "
            '{{ $value | humanizeDuration }}; it is "{{ $labels.state }}". It holds its locks, and dead rows can\'t '
            "be cleaned up.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreDatabaseGrowing",
            expr=lines(
                f"{_NOW} - {_YESTERDAY} > {LIMITS.growth_share} * {_YESTERDAY}",
                f"and {_NOW} - {_YESTERDAY} > {number(LIMITS.growth_bytes)}",
            ),
            wait="15m",
            keep="30m",
            severity=Severity.MEDIUM,
            service="database",
            summary="The database grows unusually fast",
            description="The databases behind {{ $labels.instance }} have grown by {{ $value | humanize1024 }}B within "
            f"a day, more than {LIMITS.growth_share:.0%} of their size. "
            "If that goes on, the disk fills up, and a full disk stops UnionCore.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreDatabaseDiskFilling",
            expr=lines(
                f"{_NOW} / on () group_left () {DISK}",
                f"  > {LIMITS.database_disk}",
                "or (",
                f"  {_NOW} / on () group_left () {DISK}",
                f"  and on (instance) predict_linear({_SIZE}[1d], {number(LIMITS.database_disk_ahead)})",
                f"    > on () group_left () {DISK}",
                f"  and on (instance) {seen(_SIZE, offset='12h')}",
                ")",
            ),
            wait="15m",
            keep="30m",
            severity=Severity.HIGH,
            service="database",
            summary="The database's disk fills up",
            description="The databases behind {{ $labels.instance }} take {{ $value | humanizePercentage }} of their "
            f"disk; at the rate of the last day it is full within {words(LIMITS.database_disk_ahead)}, or it is more "
            f"than {LIMITS.database_disk:.0%} full already. A full disk stops UnionCore.",
            dashboard="service",
        ),
    ],
)
