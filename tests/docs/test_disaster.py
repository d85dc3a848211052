"""The disaster recovery page, followed to the letter: from an empty server to a restored, verified database."""

from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from tests.docs.pages import REPOSITORY, Page
from tests.docs.shell import reader, runnable

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


@pytest.mark.timeout(300)
def test_with_docker_the_page_leads_there_by_way_of_two_containers_that_are_read_only(
    postgres: EmbeddedPostgres, live_url: str, tmp_path: Path
) -> None:
    lost = live_url.rpartition("/")[2]
    blocks = list(runnable(PAGE))
    (ninth,) = (line for line, title in PAGE.places.items() if title.startswith("9. "))
    of_a_host = next(line for line, (block, _) in enumerate(blocks) if "> /etc/unioncore/database-url" in block.text)
    with EmbeddedPostgres() as empty:
        empty.create_database("unioncore")
        new = empty.url("unioncore")
        shell = reader(tmp_path, postgres, live_url, container=True, NEW_DATABASE_URL=new)
        shell.output("unioncore-ops backup")
        for block, expected in blocks[:of_a_host]:
            shell.step(PAGE, block, expected)
        # The secret is written anew, and the container made anew: what its shell knew is gone.
        (tmp_path / "etc" / "database-url").write_text(new)
        (tmp_path / "state").unlink()
        take, *_ = blocks
        for block, expected in [take, *(it for it in blocks if it[0].line > ninth)]:
            shell.step(PAGE, block, expected)
        assert empty.psql(CONTENT, "unioncore") == postgres.psql(CONTENT, lost)
