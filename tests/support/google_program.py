"""A server of Google Cloud Storage's JSON API, in memory, as strict as its documentation says the real one is.

There is no other: of the emulators to be had each accepts what the real server refuses. What it does is told on
https://cloud.google.com/storage/docs/ under: json_api/v1/objects, json_api/v1/status-codes, request-preconditions,
performing-resumable-uploads, resumable-uploads#integrity-check, bucket-lock; and seen in what other clients of it have
to put up with: of a download's failure the text alone; 308 with a Range that ends before what was sent.

Usage: google_program.py PORT. ``/control`` takes what the tests want of it, in JSON, and tells what it holds.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

GRAIN = 256 << 10
DEFAULT_KEY_VERSION = "/cryptoKeyVersions/1"


class Failed(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Object:
    data: bytes
    resource: dict
    created: float = field(default_factory=time.time)


@dataclass
class Session:
    bucket: str
    parameters: dict
    metadata: dict
    data: bytearray = field(default_factory=bytearray)
    made: dict | None = None


@dataclass
class State:
    """``keeps``: how many bytes of each chunk are kept at most. ``checks_at_begin``: whether a session begins at all where
    its condition does not hold. ``tokens``: whom it lets in, everybody if empty. ``retention``: seconds. ``held``: names.
    ``autoclass``: whether it chooses a storage class by itself.
    ``scheme``: of the URLs it tells.
    ``rate``: within how many seconds it takes one change of a name. ``seen``: who was asked for, and what let in."""

    buckets: dict[str, dict[str, Object]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    keeps: int = 0
    checks_at_begin: bool = True
    tokens: list = field(default_factory=list)
    retention: float = 0
    held: list = field(default_factory=list)
    autoclass: bool = False
    scheme: str = "http"
    append_only: bool = False
    rate: float = 0
    changed: dict[str, float] = field(default_factory=dict)
    too_many: int = 0
    seen: list = field(default_factory=list)
    page: int = 1000
    dropped: int = 0
    generation: int = 0


STATE = State()
LOCK = threading.RLock()


def objects_of(bucket: str) -> dict[str, Object]:
    if bucket not in STATE.buckets:
        raise Failed(404, "notFound", "The specified bucket does not exist.")
    return STATE.buckets[bucket]


def find(bucket: str, name: str) -> Object:
    found = objects_of(bucket).get(name)
    if found is None:
        raise Failed(404, "notFound", f"No such object: {bucket}/{name}")
    return found


def require_right(bucket: str, name: str) -> None:
    """Refuse who may not delete what is to be replaced; before or after the condition, the documentation does not say."""
    if STATE.append_only and name in objects_of(bucket):
        text = "a@b.iam.gserviceaccount.com does not have storage.objects.delete access to the Google Cloud Storage object."
        raise Failed(403, "forbidden", text)


def require_condition(bucket: str, name: str, parameters: dict) -> None:
    wanted = parameters.get("ifGenerationMatch")
    if wanted is None:
        return
    found = objects_of(bucket).get(name)
    if (found.resource["generation"] if found else "0") != wanted:
        raise Failed(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def require_seldom(name: str) -> None:
    """Refuse a second change of one name within ``rate`` seconds."""
    now = time.time()
    if STATE.rate and now - STATE.changed.get(name, 0) < STATE.rate:
        STATE.too_many += 1
        text = f"The object {name} exceeded the rate limit for object mutation operations (create, update, and delete)."
        raise Failed(429, "rateLimitExceeded", text)
    STATE.changed[name] = now


def require_unkept(bucket: str, name: str) -> None:
    found = objects_of(bucket).get(name)
    if found is None:
        return
    if name in STATE.held:
        raise Failed(403, "objectUnderActiveHold", f"Object '{bucket}/{name}' is under active Temporary hold.")
    if STATE.retention and time.time() < found.created + STATE.retention:
        until = datetime.fromtimestamp(found.created + STATE.retention, UTC).isoformat()
        text = f"Object '{bucket}/{name}' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until {until}"
        raise Failed(403, "retentionPolicyNotMet", text)


def make(bucket: str, metadata: dict, parameters: dict, data: bytes) -> dict:
    """Make an object, all at once, or fail."""
    name = metadata.get("name") or parameters.get("name")
    if not name:
        raise Failed(400, "required", "Required")
    crc = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    with LOCK:
        require_right(bucket, name)
        require_condition(bucket, name, parameters)
        require_unkept(bucket, name)
        require_seldom(name)
        if metadata.get("crc32c", crc) != crc:
            text = f'Provided CRC32C "{metadata["crc32c"]}" doesn\'t match calculated CRC32C "{crc}".'
            raise Failed(400, "invalid", text)
        STATE.generation = max(STATE.generation + 1, time.time_ns() // 1000)
        now = time.time()
        resource = {
            "kind": "storage#object",
            "name": name,
            "bucket": bucket,
            "size": str(len(data)),
            "generation": str(STATE.generation),
            "crc32c": crc,
            "timeCreated": stamp(now),
            "updated": stamp(now),
            "contentType": metadata.get("contentType", "application/octet-stream"),
            "storageClass": "STANDARD" if STATE.autoclass else metadata.get("storageClass", "STANDARD"),
        }
        if metadata.get("metadata"):
            resource["metadata"] = metadata["metadata"]
        if parameters.get("kmsKeyName"):
            resource["kmsKeyName"] = parameters["kmsKeyName"] + DEFAULT_KEY_VERSION
        if STATE.retention:
            resource["retentionExpirationTime"] = stamp(now + STATE.retention)
        objects_of(bucket)[name] = Object(data, resource, now)
        return resource


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def __getattr__(self, name: str):
        if name.startswith("do_"):
            return self.do
        raise AttributeError(name)

    def do(self) -> None:
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if self.command in {"POST", "PUT"} and "Content-Length" not in self.headers:
                raise Failed(411, "lengthRequired", "You must provide the Content-Length HTTP header.")
            self.route(parts.path)
        except Failed as failed:
            self.fail(failed)

    def route(self, path: str) -> None:
        if path == "/control":
            self.control()
            return
        if path == "/token":
            if not STATE.tokens:
                self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
                return
            self.answer(200, {"access_token": STATE.tokens[0], "expires_in": 3600, "token_type": "Bearer"})
            return
        STATE.seen.append((self.headers["Host"], self.headers.get("Authorization", "")))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if STATE.tokens and token not in STATE.tokens:
            reason = "authError" if token else "required"
            raise Failed(401, reason, "Invalid Credentials" if token else "Anonymous caller does not have access")
        if "upload_id" in self.parameters:
            self.session(self.parameters["upload_id"])
            return
        found = re.fullmatch(r"(/upload)?/storage/v1/b/([^/]+)/o(?:/([^/]+))?", path)
        if found is None:
            raise Failed(404, "notFound", "Not Found")
        upload, bucket, name = found[1], unquote(found[2]), unquote(found[3] or "")
        if upload and self.command == "POST":
            self.upload(bucket)
        elif not upload and name and self.command == "GET":
            self.read(bucket, name)
        elif not upload and name and self.command == "DELETE":
            with LOCK:
                find(bucket, name)
                require_right(bucket, name)
                require_condition(bucket, name, self.parameters)
                require_unkept(bucket, name)
                require_seldom(name)
                del objects_of(bucket)[name]
            self.answer(204)
        elif not upload and not name and self.command == "GET":
            self.list(bucket)
        else:
            raise Failed(405, "methodNotAllowed", "Method Not Allowed")

    def control(self) -> None:
        with LOCK:
            if self.command == "POST":
                wanted = json.loads(self.content)
                for bucket in wanted.pop("buckets", ()):
                    STATE.buckets[bucket] = {}
                for bucket, old, new in filter(None, [wanted.pop("copy", None)]):
                    copied = {n.replace(old, new, 1): o for n, o in STATE.buckets[bucket].items() if n.startswith(old)}
                    STATE.buckets[bucket] |= {n: Object(o.data, o.resource | {"name": n}) for n, o in copied.items()}
                if wanted.pop("forget_sessions", False):
                    STATE.sessions.clear()
                for key, value in wanted.items():
                    setattr(STATE, key, value)
            self.answer(
                200,
                {
                    "objects": {
                        bucket: {n: o.resource for n, o in held.items()} for bucket, held in STATE.buckets.items()
                    },
                    "open": sum(session.made is None for session in STATE.sessions.values()),
                    "dropped": STATE.dropped,
                    "seen": STATE.seen,
                    "too_many": STATE.too_many,
                },
            )

    def list(self, bucket: str) -> None:
        prefix, most = self.parameters.get("prefix", ""), int(self.parameters.get("maxResults", 1000))
        after = base64.b64decode(self.parameters.get("pageToken", "")).decode()
        with LOCK:
            held = objects_of(bucket)
            names = sorted(name for name in held if name.startswith(prefix) and name > after)
            size = min(most, STATE.page)
            listing = {"kind": "storage#objects", "items": [held[name].resource for name in names[:size]]}
        if not listing["items"]:
            del listing["items"]
        if len(names) > size:
            listing["nextPageToken"] = base64.b64encode(names[size - 1].encode()).decode()
        self.answer(200, listing)

    def read(self, bucket: str, name: str) -> None:
        media = self.parameters.get("alt") == "media"
        with LOCK:
            found = find(bucket, name)
            require_condition(bucket, name, self.parameters)
        if not media:
            self.answer(200, found.resource)
            return
        data, resource = found.data, found.resource
        headers = {"x-goog-generation": resource["generation"], "x-goog-hash": f"crc32c={resource['crc32c']}"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self.answer(200, data, headers)
            return
        first = int(asked[1])
        last = min(int(asked[2] or len(data)), len(data) - 1)
        if first >= len(data):
            raise Failed(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.answer(206, data[first : last + 1], headers)

    def upload(self, bucket: str) -> None:
        objects_of(bucket)
        if self.parameters.get("uploadType") == "multipart":
            metadata, data = self.related()
            self.answer(200, make(bucket, metadata, self.parameters, data))
            return
        if self.parameters.get("uploadType") != "resumable":
            raise Failed(400, "invalid", "Invalid upload request")
        metadata = json.loads(self.content or b"{}")
        if STATE.checks_at_begin:
            require_right(bucket, metadata.get("name", ""))
            require_condition(bucket, metadata.get("name", ""), self.parameters)
        number = uuid.uuid4().hex
        STATE.sessions[number] = Session(bucket, self.parameters, metadata)
        place = f"{STATE.scheme}://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
        self.answer(200, b"", {"Location": place, "X-GUploader-UploadID": number})

    def related(self) -> tuple[dict, bytes]:
        boundary = re.search(r"boundary=(\S+)", self.headers.get("Content-Type", ""))
        pieces = self.content.split(b"--" + boundary[1].encode()) if boundary else []
        if len(pieces) < 4 or pieces[-1].strip() != b"--":
            raise Failed(400, "badContent", "Malformed multipart body.")
        metadata = pieces[1].partition(b"\r\n\r\n")[2]
        whole = (b"--" + boundary[1].encode()).join(pieces[2:-1])
        return json.loads(metadata), whole.partition(b"\r\n\r\n")[2][:-2]

    def session(self, number: str) -> None:
        session = STATE.sessions.get(number)
        if session is None:
            raise Failed(410, "", "")
        if self.command == "DELETE":
            with LOCK:
                del STATE.sessions[number]
                STATE.dropped += 1
            self.answer(499)
            return
        if session.made is not None:
            self.answer(200, session.made)
            return
        told = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if told is None:
            raise Failed(400, "invalid", "Failed to parse Content-Range header.")
        total = None if told[3] == "*" else int(told[3])
        with LOCK:
            if told[1] is not None:
                self.take(session, int(told[1]), int(told[2]), total)
            if total is not None and len(session.data) == total:
                session.made = make(session.bucket, session.metadata, session.parameters, bytes(session.data))
                session.data = bytearray()
                self.answer(200, session.made)
                return
        self.answer(308, b"", {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {})

    def take(self, session: Session, first: int, last: int, total: int | None) -> None:
        if len(self.content) != last - first + 1 or (total is not None and last >= total):
            raise Failed(400, "invalid", "Invalid request. The number of bytes uploaded is not that of Content-Range.")
        if total is None and len(self.content) % GRAIN:
            raise Failed(400, "invalid", "Invalid request. A chunk is a multiple of 262144 bytes.")
        if first > len(session.data):
            raise Failed(
                503, "backendError", "Invalid request. According to the Content-Range header, it goes on later."
            )
        new = self.content[len(session.data) - first :]
        session.data += new[: STATE.keeps // GRAIN * GRAIN] if STATE.keeps else new

    def fail(self, failed: Failed) -> None:
        if self.parameters.get("alt") == "media" or not failed.reason:
            self.answer(failed.status, failed.message.encode())
            return
        error = {"message": failed.message, "domain": "global", "reason": failed.reason}
        self.answer(failed.status, {"error": {"code": failed.status, "message": failed.message, "errors": [error]}})

    def answer(self, status: int, content: object = b"", headers: dict | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().server_bind()

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what tests are about."""


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
