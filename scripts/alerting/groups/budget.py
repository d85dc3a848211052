"""The error budget: how much of the 0.1 % of failed probes that 30 days allow is left, and how fast it goes."""

from scripts.alerting.groups.probes import OUTAGES, SERVING
from scripts.alerting.model import Alert, Group, Record, Severity, lines, number
from scripts.alerting.thresholds import BURNS, THRESHOLDS

_BUDGET = f"(1 - {THRESHOLDS.availability})"
_WINDOWS = sorted({window for burn in BURNS for window in (burn.long, burn.short)})
_SEVERITIES = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW)
_WAITS = ("2m", "5m", "15m", "30m")
_KEEPS = ("5m", "5m", "15m", "30m")
_TOLD = "|".join(OUTAGES)


def _alert(place: int) -> Alert:
    burn = BURNS[place]
    factor = number(burn.factor)
    return Alert(
        name=f"UnionCoreErrorBudgetBurn{burn.factor:.0f}x",
        # These are for failures that come and go. An outage that was told of as one burns the budget too, but nobody
        # should be told twice, nor after it is over. A measurement that is too young knows no long window.
        expr=lines(
            f"instance:unioncore_error_budget:burn{burn.long} > {factor}",
            f"and instance:unioncore_error_budget:burn{burn.short} > {factor}",
            f"and instance:unioncore_error_budget:burn5m offset {burn.history} >= 0",
            f'unless on () max_over_time(ALERTS{{alertname=~"{_TOLD}",alertstate="firing"}}[{burn.short}])',
        ),
        wait=_WAITS[place],
        keep=_KEEPS[place],
        severity=_SEVERITIES[place],
        service="application",
        summary=f"UnionCore fails so often that its error budget burns {factor} times too fast",
        description="Checks of {{ $labels.instance }} fail again and again: for "
        f"{burn.long} and still in the last {burn.short} so often that the failures which 30 days allow "
        f"({100 * (1 - THRESHOLDS.availability):.1f} % of the time) are used up "
        '{{ printf "%.1f" $value }} times too fast. People see errors now and then.',
        dashboard="service",
    )


BUDGET = Group(
    "unioncore-error-budget",
    [
        *(
            Record(
                f"instance:unioncore_availability:avg{window}", f"avg_over_time(probe_success{{{SERVING}}}[{window}])"
            )
            for window in (*_WINDOWS, "30d")
        ),
        *(
            Record(
                f"instance:unioncore_error_budget:burn{window}",
                f"(1 - instance:unioncore_availability:avg{window}) / {_BUDGET}",
            )
            for window in _WINDOWS
        ),
        Record(
            "instance:unioncore_error_budget:left30d", f"1 - (1 - instance:unioncore_availability:avg30d) / {_BUDGET}"
        ),
        *map(_alert, range(len(BURNS))),
    ],
    # Windows of days over samples of seconds cost something; less than the lookback of 5 m, so that nothing goes stale.
    interval="1m",
)
