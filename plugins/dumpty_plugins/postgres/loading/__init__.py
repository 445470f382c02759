"""From a dump to a database: what it needs, what it may do, its statements, and the swap with what was there."""
