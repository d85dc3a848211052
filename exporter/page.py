"""The page at `/`: how the exporter and its collectors are, for a person. No script; nothing is loaded."""

from datetime import UTC, datetime
from html import escape

from exporter import __version__
from exporter.board import Outcome, Snapshot

_STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --ink: #1b2430; --faint: #5c6979; --line: #dfe3e9; --link: #0b5cad;
  --good: #17693a; --good-ground: #e2f4e8; --bad: #a3211c; --bad-ground: #fdeceb; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #12161c; --card: #1a2029; --ink: #e4e9ef; --faint: #97a3b2; --line: #2c3542; --link: #7ab7ff;
  --good: #7fd8a0; --good-ground: #16321f; --bad: #ffa29b; --bad-ground: #3d1b1a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 3rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
h1 { margin: 0; font-size: 1.5rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0 1.5rem; }
nav a { padding: .25rem 0; }
.faint, small { color: var(--faint); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.state { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: baseline; padding: .75rem 1rem;
  margin: 0 0 .75rem; }
.state span { overflow-wrap: anywhere; }
.badge { display: inline-block; padding: .0625rem .5rem; border-radius: 1rem; font-size: .875rem; font-weight: 600;
  white-space: nowrap; color: var(--good); background: var(--good-ground); }
.bad .badge { color: var(--bad); background: var(--bad-ground); }
.card.bad { border-color: var(--bad); }
table { width: 100%; border-collapse: separate; border-spacing: 0; overflow: hidden; }
th, td { padding: .5rem 1rem; text-align: left; vertical-align: baseline; }
tr + tr > *, tbody > tr > * { border-top: 1px solid var(--line); }
thead th { font-size: .875rem; font-weight: 600; color: var(--faint); white-space: nowrap; }
small, .ago { white-space: nowrap; }
small { font-size: .8125rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.error { color: var(--bad); overflow-wrap: anywhere; }
tr > .error { width: 36%; }
@media (min-width: 68rem) { td { white-space: nowrap; } td.error { white-space: normal; } }
@media (max-width: 45rem) {
  body { padding: 1.25rem 1rem 2rem; }
  thead { display: none; }
  table, tbody, tr, th, td { display: block; }
  tr { padding: .75rem 1rem; }
  tr + tr { border-top: 1px solid var(--line); }
  tbody > tr > * { border: 0; padding: .0625rem 0; }
  tr { position: relative; }
  td:nth-child(2) { position: absolute; top: .75rem; right: 1rem; }
  td[data-label] { display: flex; flex-wrap: wrap; justify-content: flex-end; align-items: baseline; gap: 0 .5rem;
    text-align: right; }
  td[data-label]::before { content: attr(data-label); flex: 1; color: var(--faint); white-space: nowrap;
    text-align: left; }
  tr > .error { width: auto; padding-top: .25rem; }
  .error:empty { display: none; }
}
"""
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def page(snapshot: Snapshot) -> str:
    """Return the page as HTML.

    Args:
        snapshot: What it shows.
    """
    outcomes = snapshot.outcomes
    failing = sum(outcome.error is not None for outcome in outcomes.values())
    if failing:
        summary = _state("Collectors", "failing", f"{failing} of {len(outcomes)} have failed", bad=True)
    else:
        summary = _state("Collectors", "ok", f"all {len(outcomes)} have succeeded")
    if snapshot.database_error is None:
        database = _state("Database", "up", "it answered")
    else:
        database = _state("Database", "down", snapshot.database_error, bad=True)
    rows = "\n".join(_row(snapshot, name, outcome) for name, outcome in outcomes.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{"" if not failing else f"({failing}) "}UnionCore exporter</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>UnionCore exporter</h1><span class="faint">version {escape(__version__)}</span></header>
<nav><a href="metrics">/metrics</a> <a href="health/live">/health/live</a>
<a href="health/ready">/health/ready</a></nav>
<main>
{database}
{summary}
<table class="card">
<thead><tr><th>Collector</th><th>State</th><th>Last success</th><th class="number">Duration</th>
<th class="number">Series</th><th>Error</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p class="faint">Looked at {_absolute(snapshot.at)}; loading the page looks again.</p>
</main>
</body>
</html>
"""


def _state(what: str, badge: str, sentence: str, *, bad: bool = False) -> str:
    return (
        f'<p class="card state{" bad" if bad else ""}"><b>{what}</b> <b class="badge">{badge}</b>'
        f" <span>{escape(sentence)}</span></p>"
    )


def _row(snapshot: Snapshot, name: str, outcome: Outcome) -> str:
    succeeded = snapshot.last_success.get(name)
    when = "never" if succeeded is None else _moment(succeeded, snapshot.at)
    # A database that is down is one trouble: its card says why, not each of its collectors again.
    error = (outcome.error or "").removesuffix(f": {snapshot.database_error}")
    ok = outcome.error is None
    return (
        f'<tr{"" if ok else " class=bad"}><th scope="row">{escape(name)}</th>'
        f'<td><b class="badge">{"ok" if ok else "failed"}</b></td><td data-label="Last success">{when}</td>'
        f'<td class="number" data-label="Duration">{_duration(outcome)}</td>'
        f'<td class="number" data-label="Series">{len(outcome.samples)}</td><td class="error">{escape(error)}</td></tr>'
    )


def _duration(outcome: Outcome) -> str:
    if outcome.seconds:
        return f"{outcome.seconds * 1000:,.1f} ms"
    return "&ndash;" if outcome.error else "unchanged"


def _moment(at: float, now: float) -> str:
    age = max(0, int(now - at))
    span, unit = next((span for span in _SPANS if age >= span[0]), (1, "s"))
    ago = f"{age // span} {unit} ago" if age else "just now"
    return f'<span class="ago">{ago}</span> <small>{_absolute(at)}</small>'


def _absolute(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'
