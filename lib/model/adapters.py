"""LoRA adapters and new vocabulary rows on a model, in PEFT's own format, computed without its detours.

Left to itself PEFT rebuilds the whole embedding matrix at every step and takes a gradient of all of it, computes
adapters in fp32 whatever the model's format, and the model makes all logits at once. `quicken` replaces those forward
passes, and nothing else: parameters, saving, loading and merging stay PEFT's.
"""
import types

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils.other import TrainableTokensWrapper
from transformers.modeling_outputs import CausalLMOutputWithPast

from lib.model import loss

ADAPTER = "default"


def add(model, rank: int, alpha: int, dropout: float = 0.0) -> PeftModel:
    """LoRA (Hu et al. 2021) on every linear layer but the head, and PEFT's trainable tokens for the new rows.

    The adapters' parameters are fp32 whatever the model's format. Untied heads get their own new rows.
    """
    size = model.config.vocab_size
    rows = list(range(getattr(model.config, "base_vocab_size", size), size))  # that the vocabulary extension added
    layers = {_name(model, model.get_input_embeddings())}
    if not model.config.tie_word_embeddings:
        layers.add(_name(model, model.get_output_embeddings()))
    adapted = get_peft_model(model, LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM",
        trainable_token_indices={layer: rows for layer in sorted(layers)} if rows else None))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def merge_rows(model):
    """The model with its trained new rows written into its matrices, as whoever ties or reads these wants them; LoRA stays."""
    for name, module in list(model.named_modules()):
        if isinstance(module, TrainableTokensWrapper):
            model.set_submodule(name, module.unload_and_optionally_merge_module(True, False, None))
    return model


def quicken(model):
    """The model, plain or adapted, with forward passes that waste nothing; numbers stay the same up to rounding."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and isinstance(module.get_base_layer(), torch.nn.Linear):  # quantised ones too
            module.forward = types.MethodType(_lora, module)
        elif isinstance(module, TrainableTokensLayer) and isinstance(module.base_layer, torch.nn.Embedding):
            module.forward = types.MethodType(_embed, module)
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    if plain(causal):
        causal.forward = types.MethodType(_causal, causal)
    return model


def plain(model) -> bool:
    """Whether a causal model's logits are its last states times one matrix, which is what our loss computes."""
    head = model.get_output_embeddings()
    return getattr(getattr(head, "original_module", head), "bias", None) is None and not scaled(model.config)


@torch.no_grad()
def untrained(model: PeftModel, ids):
    """Last hidden states [batch, length, width] of the weights below the adapter, for tokens that they know."""
    with rescale_adapter_scale(model, 0.0):
        return model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state


def compile_layers(model, backend: str = "inductor"):
    """The model with each of its layers compiled where it stands (regional compilation of torch.compile): names of
    weights and hooks stay, and all layers share one program, made at the first step in about a minute."""
    for module in model.modules():
        if type(module).__name__ in model._no_split_modules:
            module.compile(backend=backend)
    return model


def _lora(layer, x):
    """x W' + α/r · x A' B', the adapter in x's format (its parameters are fp32), added in one pass."""
    flat = x.reshape(-1, x.shape[-1])
    down, up = layer.lora_A[ADAPTER].weight.to(x.dtype), layer.lora_B[ADAPTER].weight.to(x.dtype)
    reduced = layer.lora_dropout[ADAPTER](flat) @ down.t()
    result = torch.addmm(layer.base_layer(flat), reduced, up.t(), alpha=layer.scaling[ADAPTER])
    return result.view(*x.shape[:-1], -1)


def _embed(layer, ids):
    """Old rows from the frozen matrix, new ones from the trained rows, so that only these get a gradient."""
    old, rows = layer.base_layer(ids), layer.trainable_tokens_delta[ADAPTER]
    place = ids - layer.token_indices[ADAPTER][0]
    scale = layer._get_embed_scale()  # some architectures scale their embeddings
    new = torch.nn.functional.embedding(place.clamp(min=0), rows).to(old.dtype)
    return torch.where((place >= 0)[..., None], new if scale is None else new * scale.to(old.dtype), old)


def _causal(model, input_ids=None, attention_mask=None, labels=None, num_items_in_batch=None, taught=None, teacher=None,
            **options):
    """The causal model's forward; with labels it returns the mean loss in nats and no logits.

    Rows of the batch that are `taught` [batch] learn from the hidden states of a `teacher` [batch, length, width].
    """
    if labels is None:
        return type(model).forward(model, input_ids=input_ids, attention_mask=attention_mask, **options)
    options.update(use_cache=False)
    states = model.base_model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
    states, targets, head = states[:, :-1], labels[:, 1:], _head(model)
    count = (targets != loss.IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    if taught is None:
        total = loss.cross_entropy(states.flatten(0, 1), targets.flatten(), head)
    else:
        total = loss.cross_entropy(states[~taught].flatten(0, 1), targets[~taught].flatten(), head)
        total += loss.cross_entropy(states[taught].flatten(0, 1), targets[taught].flatten(), head,
                                    teacher=teacher[taught, :-1].flatten(0, 1))
    return CausalLMOutputWithPast(loss=total / count)


def _head(model) -> list:
    """Parts of the output matrix: old rows and trained new rows, or the one matrix there is."""
    layer = model.get_output_embeddings()
    rows = getattr(layer, "token_adapter", None)
    if rows is None:
        return [layer.weight]
    return [rows.base_layer.weight[:rows.token_indices[ADAPTER][0]], rows.trainable_tokens_delta[ADAPTER]]


def scaled(config) -> bool:
    """Whether the architecture bends its logits (soft cap or scale): then its own loss is used."""
    return any(getattr(config, name, None) not in (None, 1, 1.0)
               for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier"))


def _name(model, module) -> str:
    return next(name for name, found in model.named_modules() if found is module).rsplit(".", 1)[-1]
