"""What a database holds, to the last row, in a form that can be kept and compared."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field, replace
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from scripts.backup.catalog import EXACT, OWN_WORDS
from scripts.backup.definitions import comparable, hidden, same, verbatim
from scripts.backup.rights import OWNED, left_from_before

CRITICAL = ("members", "users", "audit_logs", "dues_payments", "students")
"""The tables without which a database is not UnionCore's."""

_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Table:
    """The rows of a table.

    Attributes:
        rows: How many.
        digest: Of their content, whatever their order: two sums of 64 bits of their hashes, in hexadecimal.
    """

    rows: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(frozen=True, config=_STRICT)
class Contents:
    """Everything that a restore must bring back. Tables and objects are named qualified, and quoted where needed.

    Attributes:
        database: Its name.
        major: PostgreSQL's major version.
        version: Its whole version.
        encoding: As `UTF8`.
        collation: As `en_US.UTF-8`.
        ctype: Likewise.
        size: Its size on the server in bytes, indexes and all.
        migration: Where the application's migrations stand; empty if it has none.
        roles: The roles that it names: owners and grantees of its objects, those of its policies, settings and grants.
        policy_roles: Of these, the ones without which its policies can't be made.
        large_objects: How many there are.
        tables: The rows of each table.
        sequences: The next value of each sequence: the lowest and the highest that it had while the backup ran, for
            a sequence belongs to no snapshot.
        objects: The definition of every object, by kind and name: as it was read, or what a manifest keeps of it.
        settings: The database's own settings, which are in no dump: role or nothing, name, value.
        grants: Who may use the database, likewise: role or nothing, privilege, whether it may be granted on.
        provider: What knows its locale: `c` (the C library), `i` (ICU), `b` (PostgreSQL itself).
        locale: Its locale, unless the C library knows it.
        cluster: The system identifier of its cluster; empty if the user of the backup may not know that.
        oid: Its number in its cluster; 0 in manifests that don't say it.
    """

    database: str
    major: int
    version: str
    encoding: str
    collation: str
    ctype: str
    size: int
    migration: str
    roles: list[str]
    large_objects: int
    tables: dict[str, Table]
    sequences: dict[str, tuple[int, int]]
    objects: dict[str, dict[str, str]]
    policy_roles: list[str] = field(default_factory=list)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    grants: list[tuple[str, str, bool]] | None = None
    provider: str = "c"
    locale: str = ""
    cluster: str = ""
    oid: int = 0

    def critical(self) -> dict[str, int | None]:
        """Return the row count of each critical table; None if there is no such table in any schema."""
        rows = {name.rpartition(".")[2]: table.rows for name, table in self.tables.items()}
        return {name: rows.get(name) for name in CRITICAL}

    def condensed(self) -> "Contents":
        """Return these contents as a manifest has them: what was read, with what is kept of the definitions."""
        objects = {
            kind: {name: (verbatim if kind in OWN_WORDS else comparable)(words) for name, words in found.items()}
            for kind, found in self.objects.items()
        }
        return replace(self, objects=objects)

    def concealed(self, conceal: Callable[[str], str]) -> "Contents":
        """Return these contents without what may be a secret: the application's own settings, bodies of functions.

        Args:
            conceal: Encrypts a text.
        """
        objects = {
            kind: {name: hidden(definition) for name, definition in found.items()} if "function" in kind else found
            for kind, found in self.objects.items()
        }
        return replace(self._with_own_settings(conceal), objects=objects)

    def revealed(self, reveal: Callable[[str], str]) -> "Contents":
        """Return concealed contents with the values of settings.

        Args:
            reveal: Decrypts a text.
        """
        return self._with_own_settings(reveal)

    def _with_own_settings(self, change: Callable[[str], str]) -> "Contents":
        # A name with a dot is an extension's or the application's own.
        settings = [(role, name, change(value) if "." in name else value) for role, name, value in self.settings]
        return replace(self, settings=settings)

    def compared(self) -> int:
        """Return how many facts a comparison with these contents looks at."""
        return 2 * len(self.tables) + len(self.sequences) + sum(map(len, self.objects.values()))


def differences(
    expected: Contents,
    found: Contents,
    *,
    owners: bool = False,
    extra: bool = False,
    before: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[str]:
    """Compare what was restored with what was backed up.

    Args:
        expected: What was backed up, as the manifest has it.
        found: What was restored, as it was read.
        owners: Compare also whose all that is, and who may do what with it, if the backup says so.
        extra: Allow what was not backed up.
        before: The objects that were there before, by kind, with their definitions: allow these, too, and what roles
            might do with a schema.

    Yields:
        A sentence for each difference; none if they are equal.
    """
    yield from _by_name("table", expected.tables, found.tables, extra=extra)
    for name, table in expected.tables.items():
        other = found.tables.get(name, table)
        if other.rows != table.rows:
            yield f"table {name} has {other.rows} rows, not {table.rows}"
        elif other.digest != table.digest:
            yield f"table {name} has {table.rows} rows, but not the same content"
    yield from _by_name("sequence", expected.sequences, found.sequences, extra=extra)
    for name, (low, high) in expected.sequences.items():
        value = found.sequences.get(name, (low, low))[0]
        # One that has started anew in the meantime went up to its end and on from its beginning.
        if not (low <= value <= high if low <= high else value >= low or value <= high):
            yield f"sequence {name} goes on with {value}, not with {low if low == high else f'{low} to {high}'}"
    if found.large_objects != expected.large_objects and not extra:
        yield f"there are {found.large_objects} large objects, not {expected.large_objects}"
    if found.migration != expected.migration:
        yield f"the migrations stand at {found.migration or 'nothing'}, not at {expected.migration or 'nothing'}"
    more = still_granted(expected, found, before or {})
    left_out = set() if owners and OWNED in expected.objects else {OWNED}
    for kind in sorted((expected.objects.keys() | found.objects.keys()) - left_out):
        here, there = expected.objects.get(kind, {}), found.objects.get(kind, {})
        # A missing or surplus table has been told. A new database has a schema public, whatever the other one had.
        if kind != "table":
            ours = {"public"} if kind == "schema" else set()
            made = there.keys() - ours.union((before or {}).get(kind, ())) | here.keys() & there.keys()
            yield from _by_name(kind, here, made, extra=extra)
        if kind not in EXACT or expected.major == found.major:
            for name in sorted(here.keys() & there.keys()):
                if not same(here[name], there[name]) and not (kind == OWNED and name in more):
                    yield f"{kind} {name} is {comparable(there[name])!r}, not {comparable(here[name])!r}"


def still_granted(expected: Contents, found: Contents, before: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return what roles may do beyond what was backed up with the schemas that were there before, as they might then.

    Args:
        expected: What was backed up, as the manifest has it.
        found: What was restored, as it was read.
        before: The objects that were there before, by kind, with their definitions.
    """
    kept, there, had = (objects.get(OWNED, {}) for objects in (expected.objects, found.objects, before))
    names = before.get("schema", {}).keys() & kept.keys() & there.keys() & had.keys()
    granted = {name: left_from_before(kept[name], there[name], had[name]) for name in sorted(names)}
    return {name: more for name, more in granted.items() if more}


def _by_name(kind: str, expected: Collection[str], found: Collection[str], *, extra: bool) -> Iterator[str]:
    for name in sorted(set(expected) - set(found)):
        yield f"{kind} {name} is missing"
    for name in sorted(set(found) - set(expected) if not extra else ()):
        yield f"{kind} {name} is not in the backup"
