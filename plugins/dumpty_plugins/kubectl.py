"""The transport ``kubectl``: into a pod of Kubernetes, by ``kubectl exec``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty import Hop, MalformedURL, PluginInfo, hookimpl, parse_hop, relay_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty import Endpoint, Transport

_EXAMPLE = "kubectl://NAMESPACE/POD?context=CONTEXT"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_KINDS = ("pod",)
"""What stands before a name. Of the pods of a deployment or a stateful set kubectl takes any, another one each time."""
IN_CLUSTER = "in-cluster"
"""Stands for the cluster that dumpty itself runs in, whose account is no context."""


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="transport", summary="a pod of Kubernetes, by kubectl", schemes=("kubectl",))


@hookimpl
def open_transport(url: str) -> Transport:
    """Return the way into a pod: ``kubectl://NAMESPACE/POD?context=CONTEXT&container=CONTAINER``.

    The context has to be named: by the one that happens to be the current one, another cluster's database would be
    taken for this one's.

    Raises:
        MalformedURL: it names none, or more than that.
    """
    hop = parse_hop(url, example=_EXAMPLE, settings=("context", "container"))
    *kinds, name = hop.path.split("/")
    valid = all(_NAME.fullmatch(text) for text in (hop.host, name)) and all(kind in _KINDS for kind in kinds)
    if hop.user or hop.port or not valid or len(kinds) > 1:
        raise MalformedURL(
            f"the URL of a pod is {_EXAMPLE}, with &container=CONTAINER for one of several; NAME-0 is the first pod of "
            "a stateful set"
        )
    if not hop.settings.get("context"):
        raise MalformedURL(
            f"the URL of a pod names its cluster, {_EXAMPLE}: kubectl config current-context says which is the current "
            f"one, and inside of a cluster write ?context={IN_CLUSTER}"
        )
    return _Pod(hop)


class _Pod(Struct, frozen=True):
    """The way into one pod."""

    hop: Hop

    @property
    def place(self) -> str:
        container = self.hop.settings.get("container", "")
        pod = self.hop.path.removeprefix("pod/")
        return f"kubectl://{self.hop.settings['context']}@{self.hop.host}/{pod}{':' if container else ''}{container}"

    @property
    def environment(self) -> Sequence[str]:
        # Of clouds, too: programs of theirs log kubectl in.
        return (
            "KUBE*",
            "AWS_*",
            "GOOGLE_*",
            "CLOUDSDK_*",
            "AZURE_*",
            "AAD_*",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "SSL_CERT_*",
        )

    def command(self, argv: Sequence[str], /) -> list[str]:
        settings = self.hop.settings
        context = [f"--context={settings['context']}"] if settings["context"] != IN_CLUSTER else []
        container = [f"--container={settings['container']}"] if settings.get("container") else []
        return [
            *("kubectl", *context, f"--namespace={self.hop.host}"),
            *("exec", "--stdin", *container, self.hop.path, "--", *argv),
        ]

    def dial(self, endpoint: Endpoint, /) -> list[str]:
        return self.command(relay_command(endpoint))

    def advise(self, text: str, /) -> str:
        if "NotFound" in text or "not found" in text:
            return f"see which there are: kubectl get pods --namespace={self.hop.host}"
        if "provide credentials" in text or "Unauthorized" in text:
            return "log in to the cluster; kubectl's own configuration counts ($KUBECONFIG)"
        return ""

    def shared(self, _path: str, /) -> None:
        return None
