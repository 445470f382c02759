"""The server: connections and sessions, words of SQL, privileges, refusals, and private servers for drills."""
