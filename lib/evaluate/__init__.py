import lib.model  # noqa: F401 (first: it keeps bitsandbytes from importing a compiler)
