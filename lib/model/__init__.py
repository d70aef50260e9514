import torch

# Before anything imports bitsandbytes, whose fallback kernels ask for torch.compile: its compiler takes three seconds to
# import, and nothing here is compiled. (An older PyTorch than the pinned one, as in Colab, has no such switch.)
if hasattr(torch.compiler, "set_default_backend"):
    torch.compiler.set_default_backend("eager")
