from nlbench.kernels.backends import Backend, Bound, bind

__all__ = ["Backend", "Bound", "bind"]
