"""From a dump to a database: what a dump may say, the rows, the stored objects, and the swap with what was there.

Begin at ``swap``: it says in which order ``rehearsal``, ``loader``, ``exchange`` and ``rollback`` follow each other.
"""
