"""What runs on the models that ComfyUI itself has loaded (MODEL, CLIP, VAE), and in its memory."""

AS_FLUX = "as FLUX.1-dev"  # among schedulers: that of the paper and of FluxPipeline
