"""Database addresses as the platforms give them, and what asyncpg needs to connect to them."""

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Where Debian and its kin keep theirs, and Red Hat's.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_SCHEMES = ("postgres", "postgresql")
_UNDERSTOOD = ("host", "port", "dbname", "user", "password", "sslmode", "ssl", "sslrootcert", "options")
# What says how to connect, not where to, as whom, or to which schema: our own limits hold instead.
_HARMLESS = re.compile(
    "application_name|fallback_application_name|client_encoding|channel_binding|gssencmode|gssdelegation|sslnegotiation"
    "|sslcompression|sslsni|ssl_min_protocol_version|ssl_max_protocol_version|target_session_attrs|load_balance_hosts"
    r"|keepalives\w*|tcp_user_timeout|\w*timeout|\w*cache_size|\w*pool\w*|pgbouncer|connection_limit|async_fallback|supa"
)
_UNSUPPORTED = (
    "hostaddr",
    "passfile",
    "require_auth",
    "schema",
    "service",
    "sslcert",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
)
# host, :port, /database and ?options of a URL
_PLACE = re.compile(r"(\[[^]@/]*\]|[^]@:/?#\[]*)(:\d*)?(/[^/?@#]*)?(\?(\w+=[^&]*(&\w+=[^&]*)*)?)?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is, and as whom to log in.

    Attributes:
        host: A name, an address, or the directory of a Unix socket.
        port: The TCP port.
        database: The database's name.
        user: The role.
        password: Its password; shown nowhere.
        sslmode: One of libpq's modes; empty for its default, `prefer`.
        sslrootcert: A file of trusted certificates, or `system`.
        options: What the server is told at the start of a session, as `-c search_path=local46`.
    """

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: str = ""
    sslrootcert: str = ""
    options: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"

    def connect_arguments(self, **settings: str) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`.

        Args:
            **settings: Server settings of the session; they count more than those in `options`.

        Raises:
            OSError: `sslrootcert` can't be read.
        """
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "server_settings": {"options": self.options, **settings} if self.options else settings,
        }
        if self._verified:
            context = ssl.create_default_context(cafile=None if self._trusts_system else self.sslrootcert)
            context.check_hostname = self.sslmode == "verify-full"
            arguments["ssl"] = context
        elif self.sslmode:
            arguments["ssl"] = self.sslmode
        return arguments

    @property
    def _verified(self) -> bool:
        # As libpq has it: where a root certificate is given, `require` verifies.
        return self.sslmode.startswith("verify-") or (self.sslmode == "require" and bool(self.sslrootcert))

    @property
    def _trusts_system(self) -> bool:
        return self.sslrootcert in {"", "system"}

    def libpq_environment(self) -> dict[str, str]:
        """Return the environment variables that tell PostgreSQL's own programs the same, the password among them."""
        variables = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGOPTIONS": self.options,
            "PGSSLMODE": self.sslmode,
            "PGSSLROOTCERT": _system_bundle() if self._verified and self._trusts_system else self.sslrootcert,
        }
        return {name: value for name, value in variables.items() if value}


def _system_bundle() -> str:
    """Return the file of the certificates that this machine trusts: libpq looks for none by itself.

    Before 16 it does not know the word `system` either, and it reads no directory.
    """
    places = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((place for place in places if place and Path(place).is_file()), "system")


def parse(url: str) -> Address:
    """Read a database URL.

    Args:
        url: `postgres://` or `postgresql://`, with or without a driver suffix (`+asyncpg`); user and
            password percent-encoded or, as some platforms give them, raw: the last `@` ends them.

    Raises:
        ValueError: It can't be read; the message does not contain any part of it.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.partition("+")[0] not in _SCHEMES:
        raise ValueError("must begin with postgres:// or postgresql://")
    login, place = _split(rest)
    user, _, password = login.partition(":")
    place, _, query = place.partition("?")
    netloc, _, database = place.partition("/")
    # Not parse_qsl: to libpq a `+` is a `+`.
    pairs = (pair.partition("=") for pair in query.split("&"))
    options = {unquote(name): unquote(value) for name, _, value in pairs if name}
    host, port = _host_and_port(netloc)
    _check(options)
    if re.search("[/?]", user):
        raise ValueError("has a user's name with / or ? in it: write %2F and %3F")
    user = unquote(user) or options.get("user", "")
    if not user:
        raise ValueError("names no user (postgresql://USER:PASSWORD@HOST/DATABASE)")
    return Address(
        host=options.get("host") or host or "localhost",
        port=port or _port(options.get("port", "5432")),
        database=unquote(database) or options.get("dbname", "") or user,
        user=user,
        password=unquote(password) or options.get("password"),
        options=options.get("options", ""),
        **_tls(options),
    )


def _split(rest: str) -> tuple[str, str]:
    """Split what follows `://` into the login and the place, at the first `@` that a whole place follows.

    A raw password may hold `@`, `/`, `?` and `#`, and an option may hold an `@`. Where the user is an option, there is
    no login before the place.
    """
    if re.search("[?&]user=", rest.partition("@")[0]) and _PLACE.fullmatch(rest):
        return "", rest
    ats = [index for index, letter in enumerate(rest) if letter == "@"]
    for at in ats:
        if _PLACE.fullmatch(rest, at + 1):
            return rest[:at], rest[at + 1 :]
    login, _, place = rest.rpartition("@")
    return login, place


def _check(options: Iterable[str]) -> None:
    """Refuse what would have a meaning, and would not have it here: it may lead to another database or schema."""
    unknown = [name for name in options if name not in _UNDERSTOOD and not _HARMLESS.fullmatch(name)]
    if not unknown:
        return
    # Any other name may be a part of a password.
    if named := sorted(set(unknown).intersection(_UNSUPPORTED)):
        raise ValueError(
            f"has the option {named[0]}, which is not supported: leave it out (a schema is named by "
            "options=-csearch_path%3DSCHEMA)"
        )
    raise ValueError(
        f"has an option that is none of {', '.join(_UNDERSTOOD)}: leave it out; if it is a part of the password, write "
        "%3F for ? and %26 for &"
    )


def _host_and_port(netloc: str) -> tuple[str, int | None]:
    if netloc.startswith("["):
        host, bracket, port = netloc[1:].partition("]")
        if not bracket:
            raise ValueError("has an IPv6 address without its closing bracket")
        port = port.removeprefix(":")
    else:
        host, _, port = netloc.partition(":")
    return unquote(host), _port(port) if port else None


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _tls(options: Mapping[str, str]) -> dict[str, str]:
    mode = options.get("sslmode") or options.get("ssl") or ""
    mode = {"true": "require", "false": "disable"}.get(mode, mode)
    if mode and mode not in SSL_MODES:
        raise ValueError(f"has an sslmode that is none of {', '.join(SSL_MODES)}")
    return {"sslmode": mode, "sslrootcert": options.get("sslrootcert", "")}
