"""A distribution that is on the path of these tests: a driver and a store that behave oddly when asked to."""
