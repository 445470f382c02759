"""Writes to standard output whenever it can: as Python does, as C does, and through a child process."""

from __future__ import annotations

import os
import subprocess

from dumpty import Evidence, Format, PluginInfo, hookimpl


def chat(where):
    print(f"chatty says {where}")
    os.write(1, f"chatty writes {where}\n".encode())
    subprocess.run(["echo", f"chatty echoes {where}"], check=True)


chat("import")


@hookimpl
def describe():
    chat("describe")
    return PluginInfo(kind="driver", schemes=("chatty",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    chat("backup")
    sink.write(b"chatty dump of " + source.database.encode())
    return Evidence()
