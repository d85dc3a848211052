"""A store off site: a real S3 server, as a supervised child."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from scripts.dev.servers import Server
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "unioncore-backups"


class S3Server(Server):
    """An S3 server that asks for no credentials, but wants some.

    Args:
        port: Where it listens; a free port when left out.
        env: Environment variables of its own.
    """

    def __init__(self, *, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        port = port or free_port()
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        super().__init__("moto", argv, port=port, ready="/moto-api/", env=env)

    def variables(self) -> dict[str, str]:
        """Return what configures a program to use the bucket that `hold` makes."""
        return {
            "S3_BUCKET": _NAME,
            "S3_PATH_STYLE": "true",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def hold(self, directory: Path) -> None:
        """Make a bucket that holds a copy of every file of a directory.

        Raises:
            httpx.HTTPError: It does not answer.
        """
        self.request("PUT", f"/{_NAME}")
        for path in directory.iterdir():
            self.request("PUT", f"/{_NAME}/{path.name}", content=path.read_bytes(), timeout=30)
