"""Methods that store samples, or make them, and learn from them again."""
