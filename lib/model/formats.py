"""Number formats of a model's weights (fp32, bf16, LLM.int8, NF4), what each costs to run, and formats to train in."""
import re
import time
import types
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import BitsAndBytesConfig, GenerationConfig, PreTrainedModel

from lib.engine import machine, statistics
from lib.model import folders

FLOATS = {"fp32": torch.float32, "bf16": torch.bfloat16}
KINDS = (*FLOATS, "int8", "nf4")
BITS = {16: "", 8: "int8", 4: "nf4"}  # of a frozen weight under an adapter → its kind; 16 is `machine.dtype()`
# Between the matrix products of a model in training: residual stream, norms, attention's scores and soft-max.
COMPUTED = {"fp32": torch.float32, "bf16": torch.bfloat16, "bf16-fp32-residual": torch.float32}
FULL = "(?i)out of memory|not enough memory|can't allocate"  # as PyTorch says it of GPUs and of DefaultCPUAllocator


class NotAvailable(RuntimeError):
    """A number format cannot be run on this machine; the message says which and why."""


class Cost(NamedTuple):
    """Generated tokens a second over n prompts, bytes of the weights on disk, and largest memory in bytes."""

    tokens_per_second: statistics.Estimate
    size: int
    peak_memory: int


def load(folder: Path, kind: str, training: bool = False) -> PreTrainedModel:
    """The model of a folder in a number format, in evaluation or training mode on `machine.device()`.

    int8 is LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339), nf4 is NF4 with double quantisation (Dettmers et al.
    2023, arXiv 2305.14314), both by bitsandbytes on the linear layers; embeddings, head, norms and an adapter stay in
    `machine.dtype()`. LLM.int8 also rounds what goes into a layer to 8 bits, but on a CPU in evaluation only: its
    training multiplies by the dequantised weights there. Peak memory counts from here on. Raises ValueError for another
    kind, FileNotFoundError where no model is, NotAvailable where bitsandbytes cannot run it, MemoryError or
    torch.OutOfMemoryError where it could in more memory.
    """
    if kind not in KINDS:
        raise ValueError(f"Number format {kind!r} is unknown: choose one of {', '.join(KINDS)}.")
    machine.reset_peak_memory()
    if kind in FLOATS:
        return folders.load(folder, FLOATS[kind]).train(training)
    quantised = (BitsAndBytesConfig(load_in_8bit=True) if kind == "int8" else
                 BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                    bnb_4bit_compute_dtype=machine.dtype()[0]))
    try:
        return _probed(folders.load(folder, quantization_config=quantised).train(training))
    except (ImportError, RuntimeError, NotImplementedError, ValueError, AttributeError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or re.search(FULL, str(error)):
            full = torch.OutOfMemoryError if isinstance(error, torch.OutOfMemoryError) else MemoryError
            raise full(f"{kind} weights of {Path(folder).name} do not fit into the memory of {machine.device()} "
                       f"({reason.rstrip('.')}): end other programs, or take a smaller base or fewer bits.") from error
        raise NotAvailable(f"{kind} was not run, because bitsandbytes cannot on {machine.device()} here: "
                           f"{reason}") from error


def compute(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    """The model, its weights fp32, computing in a format of `COMPUTED` from here on.

    In both bf16 formats the linear layers multiply bf16 by bf16, sum in fp32 and round the sum; fp32 weights stay
    behind as masters of the optimizer, as in Megatron-LM. All between them is bf16 in `bf16`, and fp32 in
    `bf16-fp32-residual` (Megatron-LM's `--fp32-residual-connection --attention-softmax-in-fp32`, PolyLM's remedy).
    Raises ValueError for another kind.
    """
    if kind not in COMPUTED:
        raise ValueError(f"Nothing is computed in {kind!r}: choose one of {', '.join(COMPUTED)}.")
    model.set_attn_implementation("eager")  # its soft-max keeps the format it is given; fused ones choose their own
    if kind != "fp32":
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.forward = types.MethodType(_product, module)
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) or "Norm" in type(module).__name__:
                module.register_forward_hook(lambda module, inputs, output: output.to(COMPUTED[kind]))
    return model


def unpacked(model: PreTrainedModel) -> PreTrainedModel:
    """The model for many passes: on a CPU its NF4 weights as the plain numbers that bitsandbytes makes of them anew at
    every call. LLM.int8 stays, since it rounds what goes into a layer too."""
    if machine.device() == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        model.state_dict()  # puts back in order what a pass of this CPU (AVX512-BF16) packed, which dequantize takes as it is
        model.dequantize()
    return model


@torch.inference_mode()
def cost(model, tokenizer, prompts: list[str], new_tokens: int = 32) -> Cost:
    """What a loaded model costs: `new_tokens` are generated greedily behind each prompt, one prompt at a time.

    The first prompt is run once before, unmeasured. Peak memory is the GPU's own where there is one, else the whole
    process', since `load`. Raises ValueError without prompts.
    """
    if not prompts:
        raise ValueError("The speed of generation needs one prompt at least, got none.")
    settings = GenerationConfig(max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False,
                                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    seconds = [_seconds(model, tokenizer, prompt, settings) for prompt in [prompts[0], *prompts]][1:]
    speed = statistics.ratio([new_tokens] * len(seconds), seconds)
    return Cost(speed, size(model), machine.device_peak())


def size(model) -> int:
    """Bytes of the weights as saved, tied ones once; what a quantised model leaves as floats counts as bf16."""
    quantised = getattr(model, "is_quantized", False)
    # Statistics of the quantisation stay as they are; only the model's own parameters would be published in bf16.
    own = {parameter.data_ptr() for parameter in model.parameters() if parameter.dtype == torch.float32}
    saved = {tensor.data_ptr(): tensor for tensor in model.state_dict().values() if isinstance(tensor, torch.Tensor)}
    return sum(tensor.nbytes // (2 if quantised and place in own else 1) for place, tensor in saved.items())


def _product(layer, x):
    """A linear layer in bf16. Where the hardware has none, fp32 multiplies the rounded numbers, to the same sums."""
    kind = machine.dtype()[0]
    x, weight = (part.to(torch.bfloat16).to(kind) for part in (x, layer.weight))
    bias = None if layer.bias is None else layer.bias.to(kind)
    return torch.nn.functional.linear(x, weight, bias).to(torch.bfloat16)


def _probed(model):
    """The model after one pass, in training mode backwards too: a missing kernel shows itself only there."""
    # In evaluation mode the pass repacks NF4 weights on some CPUs, for a kernel that has no gradients.
    states = model.get_input_embeddings()(torch.tensor([[0, 1]], device=model.device)).detach()
    with torch.set_grad_enabled(model.training):
        logits = model(inputs_embeds=states.requires_grad_(model.training)).logits
        if model.training:
            torch.autograd.grad(logits.sum(), states)
    return model


def _seconds(model, tokenizer, prompt: str, settings: GenerationConfig) -> float:
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False).to(model.device)
    wait()
    started = time.monotonic()
    model.generate(**inputs, generation_config=settings)
    wait()
    return time.monotonic() - started


def wait():
    """Lets a GPU finish what it was given, so that the clock measures it."""
    if machine.device() == "cuda":
        torch.cuda.synchronize()

