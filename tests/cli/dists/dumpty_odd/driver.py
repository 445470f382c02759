"""The driver ``odd``: what it does is the host in its URL, ``odd://user:password@BEHAVIOUR/database``."""

from __future__ import annotations

import contextlib
import signal
import sys
import time

from dumpty import Evidence, Format, Inspection, Locked, ObjectEvidence, Option, PluginInfo, hookimpl
from dumpty.process import Child

ESCAPES = "\x1b]0;owned\x07\x9b2J\u202e"


@hookimpl
def describe():
    return PluginInfo(
        kind="driver",
        summary="behaves as its URL says",
        schemes=("odd",),
        formats=(
            Format(name="tree", suffix=".tree", help="a directory of files", directory=True),
            Format(name="text", suffix=".txt", help="lines"),
        ),
        requires="dumpty-odd[odd]",
        options=(
            Option(
                name="color", default="red", choices=("red", "blue"), help="of the ink", verbs=("backup", "inspect")
            ),
            Option(name="bold", default=True, help="whether it is bold"),
            Option(name="shelves", default=[], help="which shelves"),
        ),
    )


@hookimpl
def inspect(source):
    if source.host == "unreachable":
        raise ConnectionRefusedError(f"{source.host} refuses {source.username} with {source.password}")
    if source.host == "library":
        raise ImportError("No module named 'ink'")
    return Inspection(
        exists=source.host != "missing",
        empty=source.host in {"missing", "empty"},
        estimated_bytes=1_500_000,
        versions={"server": f"9.9 {source.password or ''}"},
        notes=(f"the right DUMP is missing for {source.password or 'you'}",),
        identity=f"odd:{source.database}",
    )


@hookimpl
def backup(source, sink, options):
    print("this plugin prints on standard output")
    if source.host == "locked":
        raise Locked(f"{source.url} is locked by somebody else")
    if source.host == "hangs":
        sink.write(b"x" * 2_000_000)
        with Child([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            print(f"child {child.pid}", file=sys.stderr, flush=True)
            child.wait()
    if source.host == "stubborn":
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                print("stubborn", file=sys.stderr, flush=True)
                time.sleep(600)
    if source.host == "elsewhere":  # the signal is another thread's, and interrupts no waiting here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        print("elsewhere", file=sys.stderr, flush=True)
        time.sleep(600)
    if source.host == "swallows":
        with contextlib.suppress(KeyboardInterrupt):
            print("swallows", file=sys.stderr, flush=True)
            time.sleep(600)
    sink.expect(10)
    for _ in range(30):
        sink.write(f"{options['color']}\n".encode() * 20_000)
    objects = (ObjectEvidence(path=f"t{ESCAPES}", rows=7, fingerprint="f00"), ObjectEvidence(path="uncounted"))
    return Evidence(
        objects={"nothing": (), "uncounted": objects[1:]}.get(source.host, objects),
        consistent=source.host != "torn",
        versions={"server": "9.9"},
        notes=(f"a note {ESCAPES}",),
        snapshot="00000-1",
    )
