"""Fails to import."""

from __future__ import annotations

raise RuntimeError("the flux\ncapacitor is missing")
