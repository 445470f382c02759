"""PostgreSQL: ``plugin`` holds the hooks."""
