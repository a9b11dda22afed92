"""Checks of a MODEL and its settings before it paints."""

from __future__ import annotations

from typing import Any

from ...reflectionflow_core.record import InputError
from .branch import corrector_of
from .families import AS_TEMPLATE, Family
from .painter_settings import TemplateOverrides


def check_models(model: Any, vae: Any, family: Family) -> None:
    """Raises InputError for a FLUX.1 with our corrector, and for a VAE of another family."""
    if corrector_of(model) is not None:
        raise InputError(
            "This MODEL carries a FLUX.1 corrector, which this node does not use. Connect it to "
            "FLUX from MODEL, CLIP, VAE, or remove Load Corrector."
        )
    space = model.get_model_object("latent_format")
    wanted = (space.latent_channels, 3 if space.latent_dimensions == 3 else 2)
    got = (vae.latent_channels, vae.latent_dim)
    if got != wanted:
        raise InputError(
            f"This VAE does not fit {family.name}: it has {_latents(*got)}, and the MODEL paints "
            f"{_latents(*wanted)}. Load {family.vae}."
        )


def _latents(channels: int, dimensions: int) -> str:
    return f"{channels} channels {'with frames' if dimensions == 3 else 'without frames'}"


def check_size(size: tuple[int, int], family: Family) -> None:
    unit = max(16, family.pixels)
    for name, side in zip(("width", "height"), size, strict=True):
        if side < unit or side % unit:
            raise InputError(f"The {name} is {side}. Give a multiple of {unit} for {family.name}.")


def check_settings(model: Any, asked: TemplateOverrides, family: Family) -> None:
    """Raises InputError for settings that are impossible or without effect."""
    _check_known(asked, family)
    if family.distilled and asked.cfg > 1:
        raise InputError(
            f"{family.name} is distilled: it paints burnt pictures with cfg {asked.cfg:g}. Set cfg "
            'to 0 or 1, or variant to "base" if this MODEL is not distilled.'
        )
    forced = model.model_options.get("disable_cfg1_optimization", False)
    if asked.negative.strip() and (asked.cfg or family.cfg) == 1 and not forced:
        raise InputError(
            "The negative has no effect with cfg 1. Clear it, or set cfg above 1 for a MODEL that "
            "is not distilled."
        )
    if asked.guidance and family.guidance is None:
        raise InputError(f"{family.name} has no guidance. Set guidance to 0 and use cfg.")
    if asked.shift and not family.shift_node:
        raise InputError(f"{family.name} has no shift. Set shift to 0.")
    _check_custom(asked)


def _check_known(asked: TemplateOverrides, family: Family) -> None:
    steps = asked.steps or family.steps or asked.sigmas is not None
    if not steps or (not family.steps and not asked.cfg):
        raise InputError(
            f"How {family.name} paints is not known here. Set steps and cfg, and see its model "
            "card for sampler and scheduler."
        )


def _check_custom(asked: TemplateOverrides) -> None:
    if asked.custom_sampler is not None and asked.sampler != AS_TEMPLATE:
        raise InputError(
            f"Both a SAMPLER and the sampler {asked.sampler} are given. Set the sampler to "
            f'"{AS_TEMPLATE}", or remove the wire.'
        )
    if asked.sigmas is None:
        return
    if asked.steps or asked.scheduler != AS_TEMPLATE:
        raise InputError(
            "SIGMAS are given, which hold steps and scheduler. Set steps to 0 and the scheduler to "
            f'"{AS_TEMPLATE}", or remove the wire.'
        )
    if len(asked.sigmas) < 2 or float(asked.sigmas[-1]) != 0:
        raise InputError(
            "The SIGMAS do not end at 0, so the picture would stay noisy. Connect the whole "
            "output of a scheduler."
        )
