"""Methods that make samples like the old ones, and store none. Imports no torch."""
