"""The server: connections, waiting for it, its client programs, and private servers for drills."""
