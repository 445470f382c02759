"""Database files: opened, locked, told apart, built beside and put in place."""
