"""Whole text-to-image pipelines with random weights, built without any download.

Tiny ones of a megabyte for tests, full-size ones for measuring speed, which does not depend on
what the weights are. Two architectures that differ most: SDXL (a UNet, two CLIP encoders,
classifier-free guidance) and Z-Image (a transformer, a language model as encoder, lists of
embeddings). Their tokenizers know single bytes only, so that no vocabulary file is needed; the
full-size ones have text encoders of full width but two layers (text is about 1 % of the work).
They draw noise: nothing can be said of how pictures look.

Sizes: the published configurations of stable-diffusion-xl-base-1.0 and Z-Image-Turbo.
May import: nothing of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_TINY_VAE: Mapping[str, Any] = {
    "latent_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 1,
    "norm_num_groups": 16, "sample_size": 64,
}  # fmt: skip
_FULL_VAE: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32,
    "sample_size": 1024, "force_upcast": False,
}  # fmt: skip
_TINY_UNET: Mapping[str, Any] = {
    "sample_size": 32, "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 16,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "transformer_layers_per_block": (1, 1),
    "attention_head_dim": (2, 4), "cross_attention_dim": 64, "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
}  # fmt: skip
_FULL_UNET: Mapping[str, Any] = {
    "sample_size": 128, "block_out_channels": (320, 640, 1280), "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048, "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
_TINY_TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2,
    "n_kv_heads": 2, "cap_feat_dim": 32, "axes_dims": [4, 6, 6], "axes_lens": [1024, 64, 64],
}  # fmt: skip


def _bytes() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = _bytes()
    entries = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip(tokenizer: Any, width: int, *, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=2, num_attention_heads=4, projection_dim=width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _decoder(base: Mapping[str, Any], **more: Any) -> Any:
    from diffusers import AutoencoderKL

    blocks = len(base["block_out_channels"])
    return AutoencoderKL(
        **{**base, **more},
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
    )


def sdxl(*, full: bool = False, device: str = "cpu") -> Any:
    """A Stable Diffusion XL: 1.8 million weights, or the full 2.6 billion of its UNet."""
    import diffusers
    import torch

    first, second = _clip_tokenizer(), _clip_tokenizer()
    vae = {**_FULL_VAE, "latent_channels": 4} if full else _TINY_VAE
    widths = (768, 1280) if full else (32, 32)
    with torch.device(device):
        unet = diffusers.UNet2DConditionModel(
            **(_FULL_UNET if full else _TINY_UNET), use_linear_projection=True,
            addition_embed_type="text_time",
        )  # fmt: skip
        decoder = _decoder(vae, scaling_factor=0.13025)
        encoder = _clip(first, widths[0], projected=False)
        encoder_2 = _clip(second, widths[1], projected=True)
    return diffusers.StableDiffusionXLPipeline(
        vae=decoder, unet=unet, add_watermarker=False, text_encoder=encoder, tokenizer=first,
        text_encoder_2=encoder_2, tokenizer_2=second,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )  # fmt: skip


def zimage(*, full: bool = False, device: str = "cpu") -> Any:
    """A Z-Image: a million weights, or the full 6.2 billion of its transformer."""
    import diffusers
    import torch
    from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

    entries = [*_bytes(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(
        vocab={entry: number for number, entry in enumerate(entries)}, merges=[],
        model_max_length=1024, additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    width, heads = (2560, 32) if full else (32, 4)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=2, num_attention_heads=heads, num_key_value_heads=heads // 2,
        head_dim=width // heads, max_position_embeddings=1024, bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    vae = {**_FULL_VAE, "latent_channels": 16} if full else _TINY_VAE
    plain = {"use_quant_conv": False, "use_post_quant_conv": False}
    with torch.device(device):
        transformer = diffusers.ZImageTransformer2DModel(
            all_patch_size=(2,), all_f_patch_size=(1,), **({} if full else _TINY_TRANSFORMER)
        )
        decoder = _decoder(vae, scaling_factor=0.3611, shift_factor=0.1159, **plain)
        encoder = Qwen3ForCausalLM(config)
    for name, weights in transformer.named_parameters():
        if "pad_token" in name:  # made with torch.empty: whatever lay in memory
            torch.nn.init.normal_(weights, std=0.02)
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), transformer=transformer,
        vae=decoder, text_encoder=encoder, tokenizer=tokenizer,
    )  # fmt: skip


BUILDERS = {"sdxl": sdxl, "z-image-turbo": zimage}


def build(
    kind: str, folder: Path, seed: int = 0, *, full: bool = False, device: str = "cpu"
) -> Path:
    """Build one of `BUILDERS` and save it; the same seed gives the same weights.

    A full-size one is made in bfloat16 on ``device`` and takes 6 to 13 GB of disk.
    """
    import torch

    torch.manual_seed(seed)
    place = folder / kind
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if full else before)
    try:
        pipeline = BUILDERS[kind](full=full, device=device)
    finally:
        torch.set_default_dtype(before)
    pipeline.save_pretrained(place)
    return place
