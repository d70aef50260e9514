import lib.model  # noqa: F401 (first: it says how bitsandbytes computes)
