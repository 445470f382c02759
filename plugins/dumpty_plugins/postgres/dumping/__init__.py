"""What pg_dump writes: checked while it passes, in one held moment, and read again from a stored dump."""
