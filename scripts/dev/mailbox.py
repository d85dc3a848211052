"""The sink's mail server."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiosmtpd.smtp import SMTP, Envelope, Session

    from scripts.dev.sink import Sink


def listen(sink: Sink, host: str, tls: ssl.SSLContext | None, login: tuple[str, str]) -> Callable[[], None]:
    """Take mail for a sink, on its port.

    Args:
        sink: What keeps it.
        host: Where to listen.
        tls: For STARTTLS; with it, a login is asked for.
        login: The user and the password that are known.

    Returns:
        What stops it.
    """
    smtp = Controller(
        _Mailbox(sink),
        hostname=host,
        port=sink.smtp_port,
        tls_context=tls,
        require_starttls=tls is not None,
        auth_required=tls is not None,
        auth_exclude_mechanism=["LOGIN"],  # aiosmtpd's asks for the user in words of its own
        authenticator=lambda *args: AuthResult(success=_is_login(args[-1], login)),
    )
    smtp.start()
    stop: Callable[[], None] = smtp.stop
    return stop


class _Mailbox:
    """aiosmtpd's handler."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        data = envelope.content
        message = message_from_bytes(data if isinstance(data, bytes) else (data or "").encode(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        headers = {name.lower(): str(value) for name, value in message.items()}
        parts = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
        status, *_ = self._sink.take("smtp", ", ".join(envelope.rcpt_tos), "MAIL", headers | parts, headers)
        return "250 OK" if status == 200 else f"{status} trouble"


def _is_login(given: object, login: tuple[str, str]) -> bool:
    return isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == login
