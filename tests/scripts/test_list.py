"""What there is, as retention and the exporter see it."""

import json
import sys

import pytest
from click.testing import CliRunner

from scripts.job.exits import Exit
from scripts.list_backups import command
from tests.scripts.backing import Jobs


def test_backups_are_listed_the_newest_first_and_what_is_none_is_told(jobs: Jobs) -> None:
    jobs.add("old.dump", days=3, proven=True)
    jobs.add("new.dump", days=1)
    (jobs.backups / "broken.dump.json").write_text("{}")
    ended = CliRunner().invoke(command)
    assert ended.exit_code == Exit.OK
    result = json.loads(ended.stdout.splitlines()[-1])
    assert [(backup["name"], bool(backup["verified_at"])) for backup in result["details"]["backups"]] == [
        ("new.dump", False),
        ("old.dump", True),
    ]
    assert "broken.dump.json" in ended.stderr


def test_a_directory_that_is_not_there_is_an_error(jobs: Jobs) -> None:
    jobs.use(BACKUP_DIR=str(jobs.backups / "none"))
    ended = CliRunner().invoke(command)
    assert ended.exit_code == Exit.UNREACHABLE
    assert "does not exist: create it, or set BACKUP_DIR" in ended.stdout


def test_what_could_be_listed_is_shown_though_a_bucket_is_down(jobs: Jobs) -> None:
    jobs.add("old.dump", days=3)
    jobs.use(
        S3_BUCKET="backups",
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
        UNIONCORE_S3_WAIT="1",
    )
    ended = CliRunner().invoke(command)
    assert ended.exit_code == Exit.UNREACHABLE
    result = json.loads(ended.stdout.splitlines()[-1])
    assert [backup["name"] for backup in result["details"]["backups"]] == ["old.dump"]


def test_on_a_terminal_there_is_a_table(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add("one.dump", days=3)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == Exit.OK
    printed = capsys.readouterr().out
    assert "one.dump" in printed
    assert "{" not in printed
