"""What counts as the future, wherever a time comes from another clock, or from this one before it was put right."""

CLOCK_SKEW = 60.0
"""Seconds that another machine's clock may be ahead of ours: up to there a time is not in the future."""


def in_future(moment: float, now: float) -> bool:
    """Say whether a time can't have come yet.

    Args:
        moment: The time, as a Unix timestamp in seconds.
        now: The time by our own clock, likewise.
    """
    return moment > now + CLOCK_SKEW
