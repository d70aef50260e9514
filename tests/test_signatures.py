"""The parts of accelerate, peft, transformers and trl that training leans on: a change fails here, with its name."""
import inspect

import accelerate
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import fsdp_utils, parse_flag_from_env
from accelerate.utils.memory import clear_device_cache
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
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
    Trainer._save_rng_state: ["self", "output_dir"],
    TrainerCallback.on_pre_optimizer_step: ["args", "state", "control"],
    TrainerCallback.on_log: ["args", "state", "control"],
    PreTrainedTokenizerFast.train_new_from_iterator: ["text_iterator", "vocab_size"],
    torch.nn.utils.get_total_norm: ["tensors"],
    SFTTrainer: ["model", "args", "train_dataset", "processing_class"],
    TrainingArguments: ["output_dir", "per_device_train_batch_size", "num_train_epochs", "train_sampling_strategy",
                        "learning_rate", "lr_scheduler_type", "warmup_steps", "max_grad_norm", "seed", "logging_steps",
                        "save_strategy", "save_steps", "save_total_limit", "bf16", "activation_checkpointing",
                        "report_to", "disable_tqdm", "remove_unused_columns", "use_cpu", "dataloader_pin_memory",
                        "gradient_accumulation_steps", "ddp_find_unused_parameters"],
    SFTConfig: ["max_length", "packing", "completion_only_loss", "activation_checkpointing"],
    torch.optim.AdamW: ["params", "betas", "weight_decay", "fused"],
    accelerate.Accelerator.get_state_dict: ["self", "model"],
    accelerate.Accelerator.wait_for_everyone: ["self"],
    accelerate.Accelerator.end_training: ["self"],
    accelerate.PartialState: ["cpu", "kwargs"],
    accelerate.utils.set_seed: ["seed", "device_specific"],
    clear_device_cache: ["garbage_collection"],
    load_config_from_file: ["config_file"],
    parse_flag_from_env: ["key"],
    StateDictOptions: ["full_state_dict", "cpu_offload", "ignore_frozen_params"],
    get_model_state_dict: ["model", "options"],
    FSDPModule.unshard: ["self"],
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_calls_take_our_arguments(call):
    missing = [name for name in CALLS[call] if name not in inspect.signature(call).parameters]
    assert not missing, f"{call.__module__}.{call.__qualname__} no longer takes {missing}: adapt lib/train/training or lib/model/adapters."


def test_layers_keep_the_parts_we_compute_with(byte_tokenizer, tiny_model):
    config = LoraConfig(target_modules="all-linear", trainable_token_indices={"embed_tokens": [3]})
    model = get_peft_model(tiny_model(byte_tokenizer, True), config)
    lora = next(module for module in model.modules() if isinstance(module, LoraLinear))
    rows = model.get_input_embeddings().token_adapter
    assert {"default"} == set(lora.lora_A) == set(lora.lora_B) == set(lora.scaling) == set(lora.lora_dropout)
    assert rows.token_indices == {"default": [3]} and rows.trainable_tokens_delta["default"].shape == (1, 32)
    assert model.get_output_embeddings().token_adapter.trainable_tokens_delta is rows.trainable_tokens_delta


def test_the_launcher_takes_our_command():
    words = "--config_file a --mixed_precision no -m b c --parent 1"
    given = launch_command_parser().parse_args(words.split())
    assert (given.config_file, given.mixed_precision, given.module) == ("a", "no", True)
    assert (given.training_script, given.training_script_args) == ("b", ["c", "--parent", "1"])


def test_a_batch_is_averaged_by_tokens_over_processes(tmp_path):
    assert TrainingArguments(str(tmp_path), use_cpu=True).average_tokens_across_devices


def test_weights_gathered_elsewhere_are_what_an_adapter_saves():
    assert 'kwargs.get("state_dict"' in inspect.getsource(PeftModel.save_pretrained)


def test_fsdp_still_asks_for_tied_weights_by_identity():
    assert "input_weight is output_weight" in inspect.getsource(fsdp_utils.fsdp2_prepare_model)


def test_gguf_loading_is_still_there():
    assert "gguf_file" in inspect.getsource(AutoModelForCausalLM.from_pretrained.__func__) or \
        "gguf_file" in inspect.getsource(PreTrainedModel.from_pretrained.__func__)


def test_callbacks_are_given_what_the_guard_acts_on():
    source = inspect.getsource(CallbackHandler.call_event)
    missing = [name for name in ("model", "optimizer", "lr_scheduler") if f"{name}=self.{name}" not in source]
    assert not missing, f"callbacks of the Trainer no longer get {missing}: adapt lib/train/spikes."


def test_a_schedule_starts_from_base_rates():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    schedule.base_lrs = [0.5]
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.5 and schedule.state_dict()["base_lrs"] == [0.5]
