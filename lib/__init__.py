"""The thin library behind the chapters: one noun a module, imports only downwards."""
import gc
import logging
import sys

if sys.platform == "win32":
    raise SystemExit("Windows is not supported: run the companion in its Subsystem for Linux (WSL), or in Colab.")

# Else it tells, as soon as it is imported, of kernels that are not needed here, and then of a cast at every layer.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# Importing the libraries makes a million objects and no garbage: looking for some took a third of that time.
gc.set_threshold(100_000, 50, 100)
