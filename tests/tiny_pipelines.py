"""Whole text-to-image pipelines of a megabyte with random weights, built without any download.

Two that differ most: SDXL (a UNet, two CLIP encoders, classifier-free guidance) and Z-Image (a
transformer, a chat-tuned language model as encoder, lists of embeddings). Their tokenizers know
single bytes only, so that no vocabulary file is needed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTHS = (32, 64)


def _bytes() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = _bytes()
    entries = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip(tokenizer: Any, *, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, projection_dim=32, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def _decoder(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=4, block_out_channels=WIDTHS, layers_per_block=1, norm_num_groups=16,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        sample_size=64, **more,
    ).eval()  # fmt: skip


def sdxl() -> Any:
    """A Stable Diffusion XL of 1.8 million weights."""
    import diffusers

    first, second = _clip_tokenizer(), _clip_tokenizer()
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, block_out_channels=WIDTHS, layers_per_block=1, norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 1),
        attention_head_dim=(2, 4), cross_attention_dim=64, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    ).eval()  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=_decoder(scaling_factor=0.13025), unet=unet, add_watermarker=False,
        text_encoder=_clip(first, projected=False), tokenizer=first,
        text_encoder_2=_clip(second, projected=True), tokenizer_2=second,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )  # fmt: skip


def zimage() -> Any:
    """A Z-Image of a million weights."""
    import diffusers
    import torch
    from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

    entries = [*_bytes(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(
        vocab={entry: number for number, entry in enumerate(entries)}, merges=[],
        model_max_length=1024, additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=2,
        n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32, axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    ).eval()  # fmt: skip
    for name, weights in transformer.named_parameters():
        if "pad_token" in name:  # made with torch.empty: whatever lay in memory
            torch.nn.init.normal_(weights, std=0.02)
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), transformer=transformer,
        vae=_decoder(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=Qwen3ForCausalLM(config).eval(), tokenizer=tokenizer,
    )  # fmt: skip


def build(kind: str, folder: Path, seed: int = 0) -> Path:
    """Build one and save it; the same seed gives the same weights."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    place = folder / kind
    {"sdxl": sdxl, "z-image-turbo": zimage}[kind]().save_pretrained(place)
    return place
