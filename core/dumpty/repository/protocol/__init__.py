"""How is a repository changed by many at once, without a lock? Attempts, recovery, removal, annotations, readers, runs.

Every object is written once under a name of its own, and one object decides each question, whoever puts it first: an
attempt's manifest (its commit, or the tombstone that forbids it), a doom's decision (go, or withdrawn), a run's result.
All that is known here is names, sizes and times; a manifest is bytes. The order of the steps is the point:
``tests/repository/protocol`` drives this code through every interleaving, with a crash at each step.

What a place lacks costs time, never data. Without ``CREATE_NEW`` recovery waits for seven days instead of an hour, and
a pin cannot withdraw a removal. Without ``STRONG_LIST`` a removal is announced, and done by a run a day later. Where
deletions are refused for a while (``RETAINS``), what was decided is done by a later recovery, and is whole until then.
"""
