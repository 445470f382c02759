"""What is it in JSON? The object that answers each verb, the values inside of it, and the schema of all of them.

``verbs`` has the objects, ``values`` and ``runs`` what is inside; ``backups`` and ``jobs`` make that of what is known.
Each of these modules needs msgspec, and takes its time: what has to start fast imports them where it uses them.
"""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION"]

SCHEMA_VERSION = 1
"""Of the objects in ``verbs``. Keys that are added make no new version."""
