"""moto's server, which looks first and writes then, as S3 does not: so conditional writes are done one by one here."""

from __future__ import annotations

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

_answer = DomainDispatcherApplication.__call__
_one_at_a_time = threading.Lock()


def _answer_in_turn(self, environ, start_response):
    if "HTTP_IF_NONE_MATCH" not in environ or environ["REQUEST_METHOD"] not in {"PUT", "POST"}:
        return _answer(self, environ, start_response)
    with _one_at_a_time:
        return _answer(self, environ, start_response)


if __name__ == "__main__":
    DomainDispatcherApplication.__call__ = _answer_in_turn
    sys.exit(main())
