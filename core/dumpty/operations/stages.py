"""The stages of a backup: as a manifest records them, and as the plugins that undo them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.operations.sealing import require_plugin
from dumpty.streaming.stored import Stage
from dumpty.types import PluginRef, StageRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Identity, Record, StoredObject

__all__ = ["plugin_ref", "stage_record", "stages_of"]


def plugin_ref(plugin: Plugin) -> PluginRef:
    """Return what a manifest says of a plugin that took part."""
    return PluginRef(name=plugin.name, distribution=plugin.distribution, version=plugin.version)


def stage_record(stage: Stage) -> StageRecord:
    """Return what a manifest says of a stage that a backup went through."""
    params = dict(stage.options)
    if not stage.is_cipher:
        return StageRecord(plugin=plugin_ref(stage.plugin), params=params)
    params["recipients"] = sorted(recipient.kind for recipient in stage.recipients)
    return StageRecord(plugin=plugin_ref(stage.plugin), params=params, kind="cipher")


def stages_of(host: Host, record: Record, entry: StoredObject, identities: Sequence[Identity]) -> tuple[Stage, ...]:
    """Return the stages that an object of a backup went through; ``identities`` open it where it is encrypted.

    Raises:
        PluginNotFound: one of them is not installed.
    """
    stages = []
    for stage in entry.stages:
        plugin = require_plugin(host, stage.kind, stage.plugin, record)
        is_cipher = stage.kind == "cipher"
        options = {k: v for k, v in stage.params.items() if not (is_cipher and k == "recipients")}
        stages.append(Stage(plugin=plugin, options=options, identities=tuple(identities) if is_cipher else ()))
    return tuple(stages)
