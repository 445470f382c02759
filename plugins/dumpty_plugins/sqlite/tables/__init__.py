"""Single tables of a dump, put into a database beside what it holds."""
