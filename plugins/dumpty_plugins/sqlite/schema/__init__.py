"""What a database holds: its definitions, its rows, and what proves a copy of them."""
