"""From a dump to a database, which may do nothing beyond it."""
