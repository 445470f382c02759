"""The page that ``dumpty serve`` shows, and the report that ``dumpty report`` writes: what there is, for people."""
