"""SQLite database files, live ones included: ``plugin`` holds the hooks."""
