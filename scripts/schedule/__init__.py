"""When the jobs run: the plan, from which cron, systemd and the jobs' container get their times, and what runs it."""
