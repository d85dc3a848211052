"""Something to put into a store of objects."""

import hashlib
import io
import os
from datetime import UTC, datetime, timedelta

from scripts.objects import Objects

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SOON = datetime.now(UTC) + timedelta(days=1)


def put(store: Objects, key: str, content: bytes = CONTENT) -> bool:
    return store.put(key, io.BytesIO(content), hashlib.sha256(content).hexdigest())
