"""Database files: opened, locked, identified, built beside their target and put in place."""
