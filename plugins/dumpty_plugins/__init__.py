"""The plugins that come with dumpty: found by entry point, like anyone else's."""
