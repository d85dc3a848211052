"""What docker-compose hands on: every setting there is, so that none in .env is silently not heard."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.settings import CommonSettings, Settings, variable_of
from scripts.archive.settings import ArchiveSettings, DeleteSettings
from scripts.backup.settings import BackupSettings, RestoreSettings, VerifySettings
from scripts.job.settings import CleanupSettings
from scripts.rendering.settings import RenderSettings
from scripts.schedule.settings import ScheduleSettings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
# The database's address is one file; where things lie is for the volumes to say; only the containers and this machine
# reach the exporter.
ELSEWHERE = {
    *("DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
    *("BACKUP_DIR", "UNIONCORE_STATE_DIR", "UNIONCORE_SPOOL_DIR", "UNIONCORE_LISTEN"),
    *("UNIONCORE_METRICS_TOKEN", "UNIONCORE_TLS_CERT", "UNIONCORE_TLS_KEY"),
}
SERVICES: dict[str, tuple[type[CommonSettings], ...]] = {
    "exporter": (Settings,),
    "jobs": (
        *(BackupSettings, VerifySettings, RestoreSettings, CleanupSettings, ScheduleSettings),
        *(ArchiveSettings, DeleteSettings),
    ),
    "render-config": (RenderSettings,),
}
# Those of all jobs that render-config, which is no job that dumps or pushes, has no use for.
COMMON = {variable_of(field) for field in CommonSettings.model_fields.values()} | {"UNIONCORE_EXPORTER_URL"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_is_handed_on(service: str) -> None:
    kinds = SERVICES[service]
    wanted = {variable_of(field) for kind in kinds for field in kind.model_fields.values()} - ELSEWHERE
    if service == "render-config":
        wanted -= COMMON
    handed = {name.removesuffix("_FILE") for name in COMPOSE["services"][service]["environment"]}
    assert {name.removesuffix("_FILE") for name in wanted} - handed == set()


def test_no_secret_is_handed_on_but_as_a_file() -> None:
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("PASSWORD", "TOKEN", "DATABASE_URL", "IDENTITY", "_KEY")):
                assert variable.endswith("_FILE") or variable in {"S3_KMS_KEY_ID", "UNIONCORE_TOKEN_KEEP_DAYS"}, name
                assert value is None or str(value).startswith("/run/secrets/"), name


def test_what_the_example_of_an_environment_sets_is_known() -> None:
    names = [line.lstrip("#").partition("=")[0] for line in _settings((ROOT / ".env.example").read_text())]
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "compose" / "logs.yml").read_text()
    unknown = {name for name in names if name not in text} - {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    assert unknown == set()
    assert len(names) > 20


def test_every_image_has_a_version() -> None:
    files = [ROOT / "docker-compose.yml", *(ROOT / "compose").glob("*.yml")]
    images = [one for path in files for one in _images(path.read_text())]
    assert len(images) >= 9
    assert [one for one in images if not any(character.isdigit() for character in one.rpartition(":")[2])] == [
        "unioncore-observability:local"
    ]


def _settings(text: str) -> list[str]:
    return [
        line for line in text.splitlines() if line.lstrip("#").split("=")[0].replace("_", "").isalnum() and "=" in line
    ]


def _images(text: str) -> list[Any]:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("image:")]
    return [line.partition(":-")[2].rstrip("}") for line in lines]
