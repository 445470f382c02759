"""Who serves this? Plugins found, checked and called, their options shared out, and what they return made safe."""
