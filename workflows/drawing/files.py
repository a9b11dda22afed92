"""The files that templates need: their names, addresses, and folders below ComfyUI's models.

A node's `models` come from here, so that the Missing Models dialog offers to download them, and so
does the note "Model links".
"""

from __future__ import annotations

from collections.abc import Iterable

HUB = "https://huggingface.co"
LICENCE = f"{HUB}/black-forest-labs/FLUX.1-dev"
KONTEXT_LICENCE = f"{HUB}/black-forest-labs/FLUX.1-Kontext-dev"

File = dict[str, str]


def file(repo: str, path: str, directory: str) -> File:
    name = path.rpartition("/")[2]
    return {"name": name, "url": f"{HUB}/{repo}/resolve/main/{path}", "directory": directory}


FLUX = file("Comfy-Org/flux1-dev", "flux1-dev.safetensors", "diffusion_models")
KONTEXT = file(
    "Comfy-Org/flux1-kontext-dev_ComfyUI",
    "split_files/diffusion_models/flux1-dev-kontext_fp8_scaled.safetensors",
    "diffusion_models",
)
CLIP_L, T5 = (
    file("comfyanonymous/flux_text_encoders", name, "text_encoders")
    for name in ("clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors")
)
VAE = file("Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors", "vae")
CORRECTOR = file("diffusion-cot/FLUX-Corrector", "pytorch_lora_weights.safetensors", "loras")
QWEN = file(
    "Comfy-Org/Qwen3-VL", "text_encoders/qwen3vl_4b_fp8_scaled.safetensors", "text_encoders"
)
KREA2, KREA2_CLIP, KREA2_VAE = (
    file("Comfy-Org/Krea-2", f"{folder}/{name}.safetensors", folder)
    for folder, name in (
        ("diffusion_models", "krea2_turbo_fp8_scaled"),
        ("text_encoders", "qwen3vl_4b_fp8_scaled"),
        ("vae", "qwen_image_vae"),
    )
)
KLEIN = file(
    "Comfy-Org/flux2-klein",
    "split_files/diffusion_models/flux-2-klein-4b.safetensors",
    "diffusion_models",
)
FLUX2_VAE = file("Comfy-Org/flux2-dev", "split_files/vae/flux2-vae.safetensors", "vae")
QWEN_IMAGE, QWEN_CLIP, QWEN_VAE = (
    file("Comfy-Org/Qwen-Image_ComfyUI", f"split_files/{folder}/{name}.safetensors", folder)
    for folder, name in (
        ("diffusion_models", "qwen_image_2512_fp8_e4m3fn"),
        ("text_encoders", "qwen_2.5_vl_7b_fp8_scaled"),
        ("vae", "qwen_image_vae"),
    )
)
QWEN_EDIT = file(
    "Comfy-Org/Qwen-Image-Edit_ComfyUI",
    "split_files/diffusion_models/qwen_image_edit_2509_fp8_e4m3fn.safetensors",
    "diffusion_models",
)
Z_IMAGE, Z_IMAGE_CLIP, Z_IMAGE_VAE = (
    file("Comfy-Org/z_image_turbo", f"split_files/{folder}/{name}.safetensors", folder)
    for folder, name in (
        ("diffusion_models", "z_image_turbo_bf16"),
        ("text_encoders", "qwen_3_4b"),
        ("vae", "ae"),
    )
)
PURPOSES = {
    FLUX["name"]: "FLUX.1-dev",
    KONTEXT["name"]: f"FLUX.1 Kontext, under [its own licence]({KONTEXT_LICENCE})",
    CLIP_L["name"]: "text encoder",
    T5["name"]: "text encoder",
    VAE["name"]: "VAE",
    CORRECTOR["name"]: "the corrector",
    QWEN["name"]: "the judge and critic, Qwen3-VL",
    KREA2["name"]: "Krea 2 Turbo",
    KLEIN["name"]: "FLUX.2 klein 4B",
    FLUX2_VAE["name"]: "VAE",
    QWEN_IMAGE["name"]: "Qwen-Image 2512",
    QWEN_EDIT["name"]: "Qwen-Image-Edit 2509",
    QWEN_CLIP["name"]: "text encoder, Qwen2.5-VL",
    QWEN_VAE["name"]: "VAE",
    Z_IMAGE["name"]: "Z-Image-Turbo",
    Z_IMAGE_CLIP["name"]: "text encoder",
}


def links(files: Iterable[File]) -> str:
    """The files as a Markdown list: what each is for, its link, its folder."""
    lines = [
        f"- {PURPOSES[file['name']]}: [{file['name']}]({file['url']}), into "
        f"`models/{file['directory']}`"
        for file in files
    ]
    return "\n".join(lines)
