"""From a database to a dump: an image of its pages, or text."""
