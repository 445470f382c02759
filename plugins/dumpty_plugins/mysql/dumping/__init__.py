"""From a database to a dump: one moment, the rows, and the text around them."""
