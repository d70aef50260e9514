"""The parts of peft, transformers and trl that training leans on: a change there fails here, with its name."""
import inspect

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.trainable_tokens import TrainableTokensLayer
from transformers import (AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Trainer, TrainerCallback,
                          TrainingArguments)
from transformers.trainer_callback import CallbackHandler
from trl import SFTConfig, SFTTrainer

CALLS = {
    LoraConfig: ["r", "lora_alpha", "lora_dropout", "target_modules", "task_type", "trainable_token_indices"],
    get_peft_model: ["model", "peft_config"],
    PeftModel.from_pretrained: ["model", "model_id", "autocast_adapter_dtype"],
    PeftModel.save_pretrained: ["save_directory", "save_embedding_layers"],
    TrainableTokensLayer._get_embed_scale: ["self"],
    PreTrainedModel.resize_token_embeddings: ["new_num_tokens", "mean_resizing"],
    PreTrainedModel.set_attn_implementation: ["attn_implementation"],
    Trainer: ["model", "args", "train_dataset", "processing_class"],
    Trainer.train: ["resume_from_checkpoint"],
    Trainer.compute_loss: ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    Trainer.create_optimizer: ["self", "model"],
    Trainer.training_step: ["self", "model", "inputs", "num_items_in_batch"],
    TrainerCallback.on_pre_optimizer_step: ["args", "state", "control"],
    TrainerCallback.on_log: ["args", "state", "control"],
    PreTrainedTokenizerFast.train_new_from_iterator: ["text_iterator", "vocab_size"],
    torch.nn.utils.get_total_norm: ["tensors"],
    SFTTrainer: ["model", "args", "train_dataset", "processing_class"],
    TrainingArguments: ["output_dir", "per_device_train_batch_size", "num_train_epochs", "train_sampling_strategy",
                        "learning_rate", "lr_scheduler_type", "warmup_steps", "max_grad_norm", "seed", "logging_steps",
                        "save_strategy", "save_steps", "save_total_limit", "bf16", "activation_checkpointing",
                        "report_to", "disable_tqdm", "remove_unused_columns", "use_cpu", "dataloader_pin_memory"],
    SFTConfig: ["max_length", "packing", "completion_only_loss", "activation_checkpointing"],
    torch.optim.AdamW: ["params", "betas", "weight_decay", "fused"],
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_calls_take_our_arguments(call):
    missing = [name for name in CALLS[call] if name not in inspect.signature(call).parameters]
    assert not missing, f"{call.__module__}.{call.__qualname__} no longer takes {missing}: adapt lib/training or lib/adapters."


def test_layers_keep_the_parts_we_compute_with(byte_tokenizer, tiny_model):
    config = LoraConfig(target_modules="all-linear", trainable_token_indices={"embed_tokens": [3]})
    model = get_peft_model(tiny_model(byte_tokenizer, True), config)
    lora = next(module for module in model.modules() if isinstance(module, LoraLinear))
    rows = model.get_input_embeddings().token_adapter
    assert {"default"} == set(lora.lora_A) == set(lora.lora_B) == set(lora.scaling) == set(lora.lora_dropout)
    assert rows.token_indices == {"default": [3]} and rows.trainable_tokens_delta["default"].shape == (1, 32)
    assert model.get_output_embeddings().token_adapter.trainable_tokens_delta is rows.trainable_tokens_delta


def test_gguf_loading_is_still_there():
    assert "gguf_file" in inspect.getsource(AutoModelForCausalLM.from_pretrained.__func__) or \
        "gguf_file" in inspect.getsource(PreTrainedModel.from_pretrained.__func__)


def test_callbacks_are_given_what_the_guard_acts_on():
    source = inspect.getsource(CallbackHandler.call_event)
    missing = [name for name in ("model", "optimizer", "lr_scheduler") if f"{name}=self.{name}" not in source]
    assert not missing, f"callbacks of the Trainer no longer get {missing}: adapt lib/spikes."


def test_a_schedule_starts_from_base_rates():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    schedule.base_lrs = [0.5]
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.5 and schedule.state_dict()["base_lrs"] == [0.5]
