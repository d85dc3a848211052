"""When a count still holds, and what time makes of it: the rules that `exporter.holding` states."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.counting import Row, Tally, known_labels, label_value
from exporter.holding import CountPolicy, Holding, Pulse, TableState, Taken
from exporter.metrics import Family
from exporter.windows import Windows

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = CountPolicy(recount_seconds=300, small_rows=1000)
STATE = TableState(oid=1, own=True, filenode=7, plain=True, inserted=10, updated=3, deleted=1, rows=1001)
SMALL = STATE._replace(rows=1000)
PULSE = Pulse(
    now=NOW, snapshot="5:5:", settled=True, statistics=True, epoch="start", shape="1", tables={"a": STATE, "b": STATE}
)
GAUGE = Family("gauge", "A gauge.", ("one",))
PAIR = Family("pair", "A pair.", ("one", "two"))


def held(
    policy: CountPolicy = POLICY,
    *,
    pulse: Pulse = PULSE,
    horizon: timedelta = timedelta(days=1),
    inserts: bool = True,
) -> Holding:
    holding = Holding(policy, ("a",), inserts=inserts)
    windows = Windows.at(pulse.now, ZoneInfo("UTC"))
    holding.keep(Taken(pulse, pulse.snapshot, windows, pulse.now + horizon))
    return holding


def later(**changed: object) -> Pulse:
    """A pulse a second later, when some transaction has completed."""
    return replace(PULSE, **{"now": NOW + SECOND, "snapshot": "9:9:", **changed})  # type: ignore[arg-type]


def with_state(**changed: object) -> Pulse:
    return later(tables={"a": STATE._replace(**changed), "b": STATE})  # type: ignore[arg-type]


def test_without_a_count_there_is_nothing_to_hold() -> None:
    holding = Holding(POLICY, ("a",))
    assert holding.over(PULSE)


def test_a_count_that_was_dropped_does_not_hold() -> None:
    holding = held()
    assert not holding.over(PULSE)
    holding.drop()
    assert holding.over(PULSE)


def test_a_count_holds_while_no_transaction_has_completed_however_small_the_table_is() -> None:
    assert not held().over(later(snapshot="5:5:", tables={"a": SMALL}))


def test_a_small_tables_count_is_over_with_any_transaction() -> None:
    assert held().over(later(tables={"a": SMALL, "b": STATE}))
    assert held(CountPolicy(small_rows=10**9)).over(later())


def test_tables_that_are_counted_together_are_small_together() -> None:
    holding = Holding(POLICY, ("a", "b"))
    holding.keep(Taken(PULSE, PULSE.snapshot, Windows.at(NOW, ZoneInfo("UTC")), NOW + SECOND * 500))
    halves = {"a": STATE._replace(rows=500), "b": STATE._replace(rows=500)}
    assert holding.over(later(tables=halves))
    assert not holding.over(later(tables=halves | {"b": STATE._replace(rows=501)}))


def test_a_large_tables_count_holds_while_its_counters_stand_still() -> None:
    assert not held().over(later())
    assert not held().over(later(tables={"a": STATE, "b": STATE._replace(inserted=11)}))
    # Another estimate of its rows is no change of them.
    assert not held().over(with_state(rows=5000))


@pytest.mark.parametrize("field", [field for field in TableState._fields if field != "rows"])
def test_a_large_tables_count_is_over_with_any_change_of_it(field: str) -> None:
    changed: object = False if field in {"plain", "own"} else getattr(STATE, field) + 1
    assert held().over(with_state(**{field: changed}))


@pytest.mark.parametrize("field", ["oid", "filenode", "plain", "updated", "deleted"])
def test_where_inserts_are_followed_only_they_leave_the_count_as_it_is(field: str) -> None:
    holding = held(inserts=False)
    assert not holding.over(with_state(inserted=99))
    changed: object = False if field == "plain" else getattr(STATE, field) + 1
    assert holding.over(with_state(inserted=99, **{field: changed}))


@pytest.mark.parametrize(
    "pulse",
    [
        later(epoch="reset"),
        later(statistics=False),
        later(tables={}),
        with_state(inserted=0, updated=0, deleted=0),
    ],
    ids=["the counters were reset", "they are off", "the table is gone", "they went back to zero"],
)
def test_a_large_tables_count_is_over_where_the_counters_cannot_tell(pulse: Pulse) -> None:
    assert held().over(pulse)


def test_a_transaction_that_lasts_casts_doubt_on_a_large_tables_count_from_before_it_and_only_on_that() -> None:
    doubtful = later(open=frozenset({"3/7"}), lasting=frozenset({"3/7"}))
    assert held().over(doubtful)
    assert held(pulse=replace(PULSE, open=frozenset({"3/6"}))).over(doubtful)
    assert not held(pulse=replace(PULSE, open=frozenset({"3/7"}))).over(doubtful)
    assert not held().over(later(open=frozenset({"3/7"})))
    # No transaction has completed: there is nothing that it could have done before.
    assert not held().over(replace(doubtful, snapshot="5:5:"))


def test_a_transaction_lasts_if_its_session_had_one_open_at_the_pulse_before() -> None:
    first, second = replace(PULSE, open=frozenset({"3/7", "4/1"})), later(open=frozenset({"3/7", "4/2", "5/1"}))
    assert second.after(first).lasting == {"3/7", "4/2"}
    assert second.after(None).lasting == frozenset()


def test_a_count_of_what_is_not_the_databases_own_never_holds() -> None:
    foreign = replace(PULSE, tables={"a": STATE._replace(own=False)})
    assert held(pulse=foreign).over(foreign)


def test_counters_that_could_not_tell_at_the_count_do_not_tell_afterwards() -> None:
    for pulse in (replace(PULSE, statistics=False), replace(PULSE, tables={"a": STATE._replace(plain=False)})):
        assert held(pulse=pulse).over(replace(pulse, now=NOW + SECOND, snapshot="9:9:"))
        assert held(pulse=pulse).over(later())


def test_a_count_of_catalogs_is_over_with_any_transaction() -> None:
    holding = Holding(POLICY, ())
    holding.keep(Taken(PULSE, PULSE.snapshot, Windows.at(NOW, ZoneInfo("UTC")), NOW + SECOND * 500))
    assert not holding.over(later(snapshot="5:5:"))
    assert holding.over(later())


@pytest.mark.parametrize("state", [SMALL, STATE], ids=["small", "large"])
def test_on_a_standby_nothing_that_was_counted_is_believed(state: TableState) -> None:
    standby = replace(PULSE, settled=False, statistics=False, tables={"a": state})
    holding = held(pulse=standby)
    assert holding.over(standby)
    assert holding.over(replace(standby, now=NOW + SECOND))


def test_a_primary_that_has_become_a_standby_is_not_believed_either() -> None:
    assert held().over(later(snapshot="5:5:", settled=False, statistics=False))


def test_a_count_is_over_at_its_horizon_at_midnight_and_at_its_greatest_age() -> None:
    unchanged = replace(PULSE, now=NOW + timedelta(days=1))
    for holding, seconds in (
        (held(horizon=7 * SECOND), 7),
        (held(), 300),
        (held(CountPolicy(recount_seconds=1e6)), 12 * 3600),
    ):
        assert not holding.over(replace(unchanged, now=NOW + seconds * SECOND - timedelta.resolution))
        assert holding.over(replace(unchanged, now=NOW + seconds * SECOND))


def test_a_count_is_over_when_the_clock_is_set_back_before_it() -> None:
    assert not held().over(replace(PULSE, now=NOW))
    assert held().over(replace(PULSE, now=NOW - timedelta.resolution))


moments = st.integers(0, 20).map(lambda seconds: NOW + seconds * SECOND)
labels = st.sampled_from([None, "Open", "OPEN", "open", "closed"])
rows = st.lists(
    st.builds(
        Row,
        st.just("pair"),
        labels,
        labels,
        st.one_of(st.none(), st.integers(-9, 9).map(float)),
        st.one_of(st.none(), moments),
    )
)


@given(rows, moments)
def test_a_tally_is_what_holds_now_and_every_change_whose_moment_has_come(given_rows: list[Row], now: datetime) -> None:
    tally = Tally()
    for row in given_rows:
        tally.add(PAIR, row)
    expected: dict[tuple[str, tuple[str, ...]], float] = {}
    for _, a, b, value, at in given_rows:
        if value is not None and (at is None or at <= now):
            key = ("pair", ((a or "unknown").lower(), (b or "unknown").lower()))
            expected[key] = expected.get(key, 0.0) + value
    assert tally.at(now) == expected
    assert tally.at(now) == expected, "asking changes nothing"


def test_a_tally_takes_as_many_labels_as_its_family_has() -> None:
    tally = Tally()
    tally.add(GAUGE, Row("gauge", "A", None, 1.0, None))
    tally.add(Family("bare", "No label."), Row("bare", None, None, 2.0, None))
    assert tally.at(NOW) == {("gauge", ("a",)): 1.0, ("bare", ()): 2.0}


def test_every_combination_of_known_labels_is_known_in_lower_case() -> None:
    assert known_labels(PAIR, ["A", "b"], ["C"]) == [("pair", ("a", "c")), ("pair", ("b", "c"))]
    assert known_labels(PAIR, [], ["C"]) == []
    assert label_value("ON_LEAVE") == "on_leave"
    assert label_value(None) == "unknown"
