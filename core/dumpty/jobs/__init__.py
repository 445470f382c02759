"""Jobs: what ``dumpty.toml`` asks for, when it is due, and how it is run."""
