"""The transport ``docker``: into a container, by ``docker exec`` or ``podman exec``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty import Hop, MalformedURL, PluginInfo, hookimpl, parse_hop, relay_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty import Endpoint, Transport

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONNECTION = {"docker": "--context", "podman": "--connection"}
# None that says where containers are: that is a part of what a backup is of, and so of the URL.
_ENVIRONMENT = {
    "docker": ("DOCKER_CONFIG", "DOCKER_CERT_PATH", "SSH_AUTH_SOCK"),
    "podman": ("CONTAINERS_*", "CONTAINER_SSHKEY", "SSH_AUTH_SOCK"),
}


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="transport", summary="a container of Docker or Podman", schemes=("docker", "podman"))


@hookimpl
def open_transport(url: str) -> Transport:
    """Return the way into a container: ``docker://NAME?user=USER&context=CONTEXT``.

    Raises:
        MalformedURL: it names none, or more than that.
    """
    scheme = url.partition("://")[0].lower()
    hop = parse_hop(url, example=f"{scheme}://CONTAINER", settings=("user", "context"))
    if hop.user or hop.port or hop.path.strip("/") or not _NAME.fullmatch(hop.host):
        raise MalformedURL(
            f"the URL of a container is {scheme}://NAME or {scheme}://ID, with ?user=USER for who runs what in it, and "
            "?context=CONTEXT for where it runs"
        )
    return _Container(hop)


class _Container(Struct, frozen=True):
    """The way into one container."""

    hop: Hop

    @property
    def place(self) -> str:
        context = self.hop.settings.get("context", "")
        return f"{self.hop.scheme}://{context}{'@' if context else ''}{self.hop.host}"

    @property
    def environment(self) -> Sequence[str]:
        return _ENVIRONMENT[self.hop.scheme]

    def command(self, argv: Sequence[str], /) -> list[str]:
        settings, program = self.hop.settings, [self.hop.scheme]
        context = settings.get("context") or ("default" if self.hop.scheme == "docker" else "")
        if context:
            program += [_CONNECTION[self.hop.scheme], context]
        user = ["--user", settings["user"]] if settings.get("user") else []
        # Without a terminal, so that bytes pass as they are.
        return [*program, "exec", "--interactive", *user, self.hop.host, *argv]

    def dial(self, endpoint: Endpoint, /) -> list[str]:
        return self.command(relay_command(endpoint))

    def advise(self, text: str, /) -> str:
        name, host = self.hop.scheme, self.hop.host
        if "No such container" in text or "no container with name" in text:
            return f"see which there are: {name} ps --all"
        if "is not running" in text or "container state improper" in text:
            return f"start it: {name} start {host}"
        return ""

    def shared(self, _path: str, /) -> None:
        return None
