"""MySQL and MariaDB: ``plugin`` holds the hooks."""
