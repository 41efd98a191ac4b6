"""Methods that store samples and learn from them again."""
