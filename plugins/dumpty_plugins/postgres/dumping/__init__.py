"""What pg_dump writes: read while it passes, in one held moment."""
