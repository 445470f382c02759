"""How do bytes move? From a driver through the stages into a store, and back."""
