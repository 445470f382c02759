"""The accounts of a server: users and roles, with what was granted to them."""
