"""The machine under a chapter: device, number format, versions, memory, revision of the code, and who watches."""
import ctypes
import functools
import gc
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import psutil

from lib.engine import paths

# Numbers rest on these.
COMPUTING = ("torch", "transformers", "tokenizers", "peft", "trl", "datasets", "accelerate", "bitsandbytes", "lm_eval",
             "sacrebleu", "sentencepiece", "rapidfuzz", "regex", "scipy", "statsmodels", "numpy", "pandas")
PACKAGES = (*COMPUTING, "codecarbon", "papermill", "snakemake", "matplotlib")
CLEAR = Path("/proc/self/clear_refs")


def device() -> str:
    """`cuda`, `mps` or `cpu`."""
    import torch
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype():
    """The format to compute in and the reason: (torch dtype, sentence). bf16 only where the hardware multiplies it."""
    import torch
    if device() == "cuda":
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        return (torch.bfloat16, "this GPU multiplies bf16") if good else (torch.float32, "this GPU has no bf16 units")
    if device() == "mps":
        return torch.float32, "MPS is most reliable in fp32"
    if torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16, "this CPU has bf16 instructions (AMX or AVX512-BF16)"
    return torch.float32, f"this CPU ({torch.backends.cpu.get_cpu_capability()}) has no bf16 instructions, fp32 is faster"


def describe() -> dict:
    """Versions, device, number format with its reason, and code revision, as the record keeps them."""
    kind, reason = dtype()
    return {"python": platform.python_version(), "packages": versions(), "system": system(),
            "device": device_name(), "dtype": str(kind).removeprefix("torch."), "dtype_reason": reason, **revision()}


def system() -> str:
    """The system's name and version, architecture and C library; what a host adds to its kernel's name is left out."""
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    return ", ".join(filter(None, [kernel, platform.machine(), " ".join(platform.libc_ver()).strip()]))


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Package → version."""
    return {name: _version(name) for name in packages}


_version = functools.cache(importlib.metadata.version)


def revision() -> dict:
    """Git revision of the code and whether it was changed since; blanks outside a checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain", "lib", "notebooks", "params"], cwd=paths.ROOT,
                                 capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return {"revision": "", "dirty": None}
    return {"revision": head.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def interactive() -> bool:
    """Whether a person watches: a terminal, or a kernel started by Jupyter (papermill starts none of these)."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ


def reset_peak_memory() -> int:
    """From here on peaks count anew, where the system can (Linux, CUDA); returns the bytes that are held now.

    For the cost of one of several trainings: the `device_peak` behind it less these bytes is what it took.
    """
    import torch
    gc.collect()
    trim()
    if CLEAR.exists():
        CLEAR.write_text("5")  # proc(5): resets the peak resident set size
    if device() == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def trim():
    """Gives the system what was freed, which a process otherwise goes on holding (glibc alone: malloc_trim(3))."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def peak_memory() -> int:
    """Largest resident memory of this process so far, or since `reset_peak_memory`, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def device_peak() -> int:
    """The GPU's largest allocation since `reset_peak_memory` where there is one, else `peak_memory`, in bytes."""
    import torch
    return torch.cuda.max_memory_allocated() if device() == "cuda" else peak_memory()


def device_name() -> str:
    """The GPU's name, or the processor with its threads."""
    import torch
    if device() == "cuda":
        return torch.cuda.get_device_name()
    return f"{device()}, {platform.machine()}, {torch.get_num_threads()} threads"
