"""The accounts of a server: roles with all that is theirs, and tablespaces."""
