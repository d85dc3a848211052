"""The whole archive can be read and compared with its manifests, file by file."""

from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog


def test_an_archive_that_is_as_it_was_is_read_whole(live_log: AuditLog, archives: Archives) -> None:
    del live_log
    archived = archives.archive()
    ended = archives.verify()
    files = [key for key in archives.files() if key.endswith(CHUNK)]
    assert (ended.code, ended.rows) == (Exit.OK, len(files))
    assert (ended.details["rows"], ended.details["files"]) == (archived.rows, len(files))


def test_each_file_that_is_damaged_is_named_and_the_others_are_looked_at_all_the_same(
    live_log: AuditLog, archives: Archives
) -> None:
    del live_log
    assert archives.archive().code == Exit.OK
    chunks = [key for key in archives.files() if key.endswith(CHUNK)]
    flipped = bytearray(archives.files()[chunks[0]])
    flipped[len(flipped) // 2] ^= 1
    (archives.directory / chunks[0]).write_bytes(flipped)
    (archives.directory / chunks[1].replace(CHUNK, MANIFEST)).write_text("{}")
    ended = archives.verify()
    assert ended.code == Exit.NOT_VERIFIED
    assert f"{chunks[0]} is damaged: " in ended.error
    assert f"(2 of {len(chunks)} files; the others are as they were)" in ended.error
    assert ended.details["files"] == len(chunks) - 2
    assert [key for key in chunks if any(key in words for words in ended.details["wrong"])] == chunks[:2]
    assert chunks[1] in archives.log


def test_nothing_compared_is_nothing_verified_and_a_lost_file_is_told(live_log: AuditLog, archives: Archives) -> None:
    del live_log
    ended = archives.verify()
    assert (ended.code, "there is no archive in" in ended.error) == (Exit.NOT_VERIFIED, True)
    assert archives.archive().code == Exit.OK
    (archives.directory / archives.last()).unlink()
    ended = archives.verify()
    assert (ended.code, "is gone, and with it archived audit events" in ended.error) == (Exit.NOT_VERIFIED, True)
