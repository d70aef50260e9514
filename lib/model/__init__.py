import torch

# Before anything imports bitsandbytes, whose kernels for CPUs ask for torch.compile: its compiler takes three seconds to
# import, and rounds otherwise than eager PyTorch, which is what runs where no C++ compiler is at hand.
torch.compiler.set_default_backend("eager")
