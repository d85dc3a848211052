"""Accounts and dues."""

from scripts.alerting.model import Alert, Group, Record, Severity, held, lines, number, seen
from scripts.alerting.thresholds import ONLINE_METHODS
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_LOCKED = 'unioncore_users{state="locked"}'
_MAY_LOG_IN = 'unioncore_users{state!="inactive"}'
_ONLINE = "instance:unioncore_dues_online_dollars:sum_today"
_BEST = "instance:unioncore_dues_online_dollars:max3d"

SECURITY = Group(
    "unioncore-security",
    [
        Alert(
            name="UnionCoreManyAccountsLocked",
            expr=lines(
                f"{held(_LOCKED)} >= {number(LIMITS.locked_accounts)}",
                f"and on (instance) {held(_LOCKED)} / on (instance) sum by (instance) "
                f"({held(_MAY_LOG_IN)}) > {LIMITS.locked_share}",
            ),
            wait="15m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="security",
            summary="Unusually many accounts are locked",
            description="{{ $value }} user accounts are locked after failed logins, for at least 15 minutes. People "
            "can't work, and somebody may be guessing passwords.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreFailedLoginWave",
            expr=f"{seen(_LOCKED, '1m')} - min_over_time({_LOCKED}[15m]) >= {number(LIMITS.lock_wave)}",
            wait="1m",
            keep="15m",
            severity=Severity.HIGH,
            service="security",
            summary="A wave of failed logins locks accounts",
            description="{{ $value }} user accounts were locked within 15 minutes, each after five failed logins. "
            "Somebody is trying passwords, or the login is broken for everybody.",
            dashboard="audit",
        ),
    ],
)

DUES = Group(
    "unioncore-dues",
    [
        Record(
            _ONLINE,
            f'sum by (instance) (unioncore_dues_collected_dollars{{window="today",method=~"{ONLINE_METHODS}"}})',
        ),
        # Nothing is said of three days until there were three.
        Record(_BEST, f"max_over_time({_ONLINE}[3d]) and {seen(_ONLINE, offset='3d')}"),
        Alert(
            name="UnionCoreOnlinePaymentsSilent",
            # Each local has its own usual: what never happened in four weeks is unusual. Two weeks of them must be
            # known at least.
            expr=lines(
                f"{seen(_BEST)} == 0",
                f"and min_over_time({_BEST}[28d] offset 3d) > 0",
                f"and {seen(_BEST, offset='14d')} >= 0",
            ),
            wait="30m",
            keep="30m",
            severity=Severity.MEDIUM,
            service="dues",
            summary="No online payment has been recorded for three days",
            description="No online dues payment has been recorded for 3 days, which did not happen once in the 4 weeks "
            "before. Members may be paying while UnionCore is not told: the payment provider's webhook may be failing.",
            dashboard="dues",
        ),
    ],
    interval="1m",
)
