"""What a manifest says is read as it was meant, whichever version of this program wrote it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest
from scripts.backup.definitions import comparable, hidden
from scripts.embedded.programs import psql
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, assert_not_verified, close, opened


def test_a_manifest_of_another_program_is_told_apart_from_a_damaged_one(jobs: Jobs, backup: Path) -> None:
    path = Path(f"{backup}{MANIFEST_SUFFIX}")
    keys = json.loads(path.read_bytes())
    del keys["contents"], keys["seal"]
    path.write_bytes(json.dumps(keys, indent=1).encode() + b"\n")
    assert_not_verified(jobs, backup, "its seal is broken")


def test_a_manifest_of_a_newer_program_takes_no_proof_away(jobs: Jobs, backup: Path) -> None:
    assert jobs.verify().code == Exit.OK
    path = Path(f"{backup}{MANIFEST_SUFFIX}")
    manifest = Manifest.parse(path.read_bytes())
    keys = {**manifest.extra, "yet": "to come"}
    del keys["seal"]
    digest = hashlib.sha256(replace(manifest, extra=keys).render()).hexdigest()
    path.write_bytes(replace(manifest, extra={**keys, "seal": digest}).render())
    ended = jobs.verify()
    assert (ended.code, "written by another version of this program" in ended.error) == (Exit.TOOL, True), ended.error
    assert Path(f"{backup}{PROOF_SUFFIX}").exists()


@pytest.mark.parametrize("long", [False, True])
def test_a_functions_own_words_are_kept_and_those_that_an_older_program_kept_are_known(
    jobs: Jobs, live_url: str, *, long: bool
) -> None:
    body = f"begin return x = any((ARRAY['a'])::text[]);{' /* long */' * 20 * long} end"
    psql(live_url, f"create function k(x text) returns boolean language plpgsql as $$ {body} $$")
    assert jobs.backup(live_url).code == Exit.OK
    path = jobs.backups / jobs.names()[-1]
    manifest, facts = opened(path)
    functions = facts.contents.objects["function"]
    written = psql(live_url, "select pg_get_functiondef('k'::regproc)").strip() + "\n"
    assert (len(written) > 160) is long
    for kept in (written, comparable(written)):
        functions["public.k(x text)"] = hidden(kept) if long else kept
        close(path, manifest, facts)
        ended = jobs.verify()
        assert ended.code == Exit.OK, ended.error
    assert jobs.backup(live_url).code == Exit.OK
    kept = opened(jobs.backups / jobs.names()[-1])[1].contents.objects["function"]["public.k(x text)"]
    assert kept == (hidden(written) if long else written)
    assert jobs.verify().code == Exit.OK
