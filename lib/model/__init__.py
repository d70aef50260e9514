import torch

# Before anything imports bitsandbytes, whose fallback kernels ask for torch.compile: its compiler takes three seconds to
# import, and nothing here is compiled.
torch.compiler.set_default_backend("eager")
