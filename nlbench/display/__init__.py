"""Every table, live progress and message: one module for what belongs together. Only this package prints, and it only shows."""
