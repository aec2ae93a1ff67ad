"""What the consumers of all processes write down for the tests to read."""

import json
import os
import time
from typing import Any

from django.conf import settings


def note(event: str, **fields: Any) -> None:
    """Writes one line to the site's journal, with the process and the time.

    Args:
        event: What happened.
        **fields: Details; anything that JSON can say.
    """
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.time(), **fields}) + "\n"
    descriptor = os.open(settings.SITE["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
