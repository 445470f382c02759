"""Stands in for docker, podman and kubectl: runs the command in another network, that of a machine of the tests.

Beside it lies ``containers.json``: of each name, and of each pod as ``NAMESPACE/POD``, the process whose network it is,
or null for one that does not run. Options that are not the real programs' own, or that dumpty must not use, are refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys

PROGRAM = os.path.basename(sys.argv[0])


class Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.exit(f"{PROGRAM}: {message}")


def fail(text, status=1):
    print(text, file=sys.stderr)
    sys.exit(status)


def docker(argv):
    parser = Parser(allow_abbrev=False, add_help=False)
    parser.add_argument("--context" if PROGRAM == "docker" else "--connection", default="default")
    parser.add_argument("verb", choices=["exec"])
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    outer = parser.parse_args(argv)
    inner = Parser(allow_abbrev=False, add_help=False)
    inner.add_argument("-i", "--interactive", action="store_true")
    inner.add_argument("-u", "--user")
    inner.add_argument("name")
    inner.add_argument("command", nargs=argparse.REMAINDER)
    options = inner.parse_args(outer.rest)
    missing = f"Error response from daemon: No such container: {options.name}"
    if PROGRAM == "podman":
        missing = f'Error: no container with name or ID "{options.name}" found: no such container'
    stopped = f"Error response from daemon: container {options.name} is not running"
    return options, missing, stopped


def kubectl(argv):
    parser = Parser(allow_abbrev=False, add_help=False)
    parser.add_argument("--context")
    parser.add_argument("-n", "--namespace", required=True)
    parser.add_argument("verb", choices=["exec"])
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    outer = parser.parse_args(argv)
    if "--" not in outer.rest:
        fail("error: you must specify at least one command for the container")
    at = outer.rest.index("--")
    inner = Parser(allow_abbrev=False, add_help=False)
    inner.add_argument("-i", "--stdin", dest="interactive", action="store_true")
    inner.add_argument("-c", "--container")
    inner.add_argument("pod")
    options = inner.parse_args(outer.rest[:at])
    options.command, options.name = outer.rest[at + 1 :], f"{outer.namespace}/{options.pod}"
    if options.container not in {None, "db"}:
        fail(f"error: container {options.container} is not valid for pod {options.pod}")
    missing = f'Error from server (NotFound): pods "{options.pod}" not found'
    return options, missing, missing


def main():
    if any("s3cr3t" in word for word in sys.argv) or any("s3cr3t" in value for value in os.environ.values()):
        fail("a secret came here")
    options, missing, stopped = (kubectl if PROGRAM == "kubectl" else docker)(sys.argv[1:])
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "containers.json")) as stream:
        known = json.load(stream)
    if options.name not in known:
        fail(missing)
    if known[options.name] is None:
        fail(stopped)
    if not options.interactive:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    path = f"{os.environ['PATH']}:/usr/bin:/bin"
    enter = shutil.which("nsenter", path=path)
    environment = {"PATH": known.get("PATH", path), "HOME": "/"}
    os.execve(enter, [enter, f"--net=/proc/{known[options.name]}/ns/net", "--", *options.command], environment)


if __name__ == "__main__":
    main()
