"""Where to restore to, as an operator may say it without showing a password to everybody on the machine."""

import configparser
import os
from pathlib import Path

from exporter.dsn import Address, parse
from scripts.backup.settings import RestoreSettings
from scripts.job.exits import Exit, JobError

_SERVICE = "service="


def target_address(settings: RestoreSettings, to: str | None) -> Address:
    """Return the database to restore into.

    Args:
        settings: Hold the URL, if the command line does not.
        to: A URL without a password, or `service=NAME` of libpq's service file.

    Raises:
        JobError: There is none, it can't be read, or the command line shows a password (CONFIGURATION).
    """
    if to is None:
        if settings.target_url is None:
            raise JobError(Exit.CONFIGURATION, "no database to restore to: give --to, or set UNIONCORE_RESTORE_URL")
        return parse(settings.target_url.get_secret_value())
    if to.startswith(_SERVICE):
        return _service(to.removeprefix(_SERVICE))
    try:
        address = parse(to)
    except ValueError as error:
        raise JobError(Exit.CONFIGURATION, f"--to {error}") from error
    if address.password is not None:
        raise JobError(
            Exit.CONFIGURATION,
            "--to holds a password, which every user of this machine can read there: put the URL into the file that "
            "UNIONCORE_RESTORE_URL_FILE names, or the password into PGPASSFILE, or use --to service=NAME; "
            "and change the password",
        )
    return address


def _service(name: str) -> Address:
    """Read libpq's service file."""
    path = Path(os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    services = configparser.ConfigParser(interpolation=None)
    try:
        services.read_string(path.read_text())
        keys = services[name]
        return Address(
            host=keys["host"],
            port=int(keys.get("port", "5432")),
            database=keys.get("dbname", keys["user"]),
            user=keys["user"],
            password=keys.get("password"),
            sslmode=keys.get("sslmode", ""),
            sslrootcert=keys.get("sslrootcert", ""),
        )
    except OSError as error:
        raise JobError(Exit.CONFIGURATION, f"{path}: {error.strerror}: set PGSERVICEFILE") from error
    except (configparser.Error, KeyError, ValueError):
        # `from None`: the file holds passwords.
        raise JobError(
            Exit.CONFIGURATION, f"{path} has no service {name} with a host, a user, and a port that is a number"
        ) from None
