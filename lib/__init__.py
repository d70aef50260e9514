"""The thin library behind the chapters: one noun a module, imports only downwards."""
import logging

# Else it tells, as soon as it is imported, of kernels that are not needed here, and then of a cast at every layer.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
