"""From a dump to a database: what a dump may say, the rows, the stored objects, and the swap with what was there."""
