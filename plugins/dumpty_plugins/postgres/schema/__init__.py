"""What a database holds and what stands around it: tables, properties, privileges; and what killed restores left."""
