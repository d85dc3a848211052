"""The operations jobs, by what they report."""

from scripts.alerting.model import Alert, Group, Severity, duration, held, lines, words
from scripts.alerting.thresholds import DAILY_JOBS, WEEKLY_JOBS
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_LAST_RUN = "unioncore_job_last_run_timestamp_seconds"
# Those whose failure is a state, which stays until a run succeeds.
_LASTING = "|".join((*DAILY_JOBS, *WEEKLY_JOBS, "archive-verify"))
_PERIODS = {DAILY_JOBS: LIMITS.daily_job, WEEKLY_JOBS: LIMITS.weekly_job}


def _succeeded(jobs: str) -> str:
    """Return whether the last runs of jobs succeeded."""
    return held(f"unioncore_job_last_run_succeeded{{{jobs}}}")


def _last_run(*jobs: str) -> str:
    """Return when jobs last ran."""
    return f'{_LAST_RUN}{{job_name{"=" if len(jobs) == 1 else "=~"}"{"|".join(jobs)}"}}'


_SCHEDULED = _succeeded(f'job_name=~"{_LASTING}",job_name!="verify"')
_ON_DEMAND = _succeeded(f'job_name!~"{_LASTING}"')
_VERIFY = _succeeded('job_name="verify"')

GROUP = Group(
    "unioncore-jobs",
    [
        Alert(
            name="UnionCoreJobFailed",
            # Any other job on demand had somebody watching it; a day later its failure is history.
            expr=lines(
                f"{_SCHEDULED} == 0",
                f"or ({_ON_DEMAND} == 0",
                f"  and on (instance, job_name) time() - {held(_LAST_RUN)} < 1d)",
            ),
            wait="1m",
            keep="2m",
            severity=Severity.MEDIUM,
            service="jobs",
            summary="The job {{ $labels.job_name }} has failed",
            description="The last run of the job {{ $labels.job_name }} failed. Its log says why.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreVerifyFailed",
            expr=f"{_VERIFY} == 0",
            wait="1m",
            keep="2m",
            severity=Severity.HIGH,
            service="backups",
            summary="A backup could not be restored",
            description="The last run of the job that restores a backup into a scratch database and compares "
            "everything failed. Until it succeeds, assume that the newest backup can't be restored.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreJobOverdue",
            expr="\nor ".join(
                f"time() - {held(_last_run(*jobs))} > {duration(limit)}" for jobs, limit in _PERIODS.items()
            ),
            wait="5m",
            keep="2m",
            severity=Severity.MEDIUM,
            service="jobs",
            summary="The job {{ $labels.job_name }} is overdue",
            description="The job {{ $labels.job_name }} last ran {{ $value | humanizeDuration }} ago, which is longer "
            f"than its schedule allows ({words(LIMITS.daily_job)} for daily jobs, {words(LIMITS.weekly_job)} for "
            "weekly ones): it no longer starts, never ends, or can't reach the exporter.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreJobNeverReported",
            # Without the collector nothing is known of any job. By what was known within an hour: a scrape that fails
            # would begin the days anew, and there is one every week.
            expr=lines(
                "(",
                "\nor ".join(f"absent_over_time({_last_run(job)}[1h])" for job in (*DAILY_JOBS, *WEEKLY_JOBS)),
                ")",
                'and on () max_over_time(unioncore_collector_success{collector="jobs"}[1h]) == 1',
            ),
            wait=duration(LIMITS.weekly_job),
            keep="5m",
            severity=Severity.MEDIUM,
            service="jobs",
            summary="The job {{ $labels.job_name }} has never run",
            description=f"For {words(LIMITS.weekly_job)} no result of the job {{{{ $labels.job_name }}}} has been "
            "known: it is not scheduled, or can't reach the exporter.",
            dashboard="backups",
        ),
    ],
    interval="30s",
)
