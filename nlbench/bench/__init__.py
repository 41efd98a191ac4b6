"""Speed: of the kernels, and of whole runs beside a tight hand-written loop."""
