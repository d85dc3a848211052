"""The disaster recovery page, followed to the letter: from an empty server to a restored, verified database."""

from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from tests.docs.pages import REPOSITORY, Page
from tests.docs.shell import reader

PAGE = Page(REPOSITORY / "docs" / "runbooks" / "disaster-recovery.md")
# Every row of every table.
CONTENT = r"""
select format('select %L, count(*), md5(string_agg(t::text, chr(10) order by t::text)) from %I t', name, name)
  from (select table_name as name from information_schema.tables where table_schema = 'public') found order by 1 \gexec
"""


@pytest.mark.timeout(300)
def test_the_page_leads_from_an_empty_server_to_a_verified_database(
    postgres: EmbeddedPostgres, live_url: str, tmp_path: Path
) -> None:
    lost = live_url.rpartition("/")[2]
    with EmbeddedPostgres() as empty:
        empty.create_database("unioncore")
        shell = reader(tmp_path, postgres, live_url, NEW_DATABASE_URL=empty.url("unioncore"))
        shell.output("unioncore-ops backup")
        before = postgres.psql(CONTENT, lost)
        assert shell.run(PAGE) >= 10
        assert empty.psql(CONTENT, "unioncore") == before
        assert before.count("\n") > 15
