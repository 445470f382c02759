"""What a database holds: its definitions, how its rows are told apart, and what killed restores left in it."""
