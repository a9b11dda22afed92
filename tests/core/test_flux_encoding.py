"""Texts, pictures and noises on their way into FLUX: `pytest tests/core/test_flux_encoding.py`."""

from __future__ import annotations

import warnings

import pytest
import torch
from core.tiny_flux import tiny_pipeline
from PIL import Image

from reflectionflow_core.flux.cache import Cache
from reflectionflow_core.flux.condition import ConditionSettings, encode_condition, resized
from reflectionflow_core.flux.latents import pack, token_ids, unpack
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.noise import starting_noise
from reflectionflow_core.flux.preview import latent_colours, preview
from reflectionflow_core.flux.text import Text, corrector_text, encode_texts
from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.record import InputError, Neighbour


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture
def flux(pipeline) -> Flux:
    return Flux.from_pipeline(pipeline)


def striped(width: int, height: int, seed: int = 0) -> Image.Image:
    dice = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=dice, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_only_t5_hears_the_reflection() -> None:
    assert corrector_text("a cat", "add a hat") == Text("a cat", "a cat [Reflexion] add a hat")
    both = "a cat [Reflexion]: add a hat"
    assert corrector_text("a cat", "add a hat", "upstream") == Text(both, both)


@pytest.mark.parametrize("style", ["training", "upstream"])
def test_without_a_reflection_the_text_is_the_prompt(style: str) -> None:
    assert corrector_text("a cat", " \n", style) == Text("a cat", "a cat")


def test_an_unknown_prompt_style_is_refused_by_naming_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"'shouted'.*training, upstream"):
        corrector_text("a cat", "", "shouted")


def test_texts_are_encoded_as_the_stock_pipeline_does(pipeline, flux: Flux) -> None:
    texts = [Text("a red circle", "a red circle [Reflexion] make the circle blue"), Text("a", "b")]
    states, pooled = encode_texts(flux, texts, 16)
    with torch.no_grad():
        expected, expected_pooled, _ = pipeline.encode_prompt(
            [text.clip for text in texts], [text.t5 for text in texts], max_sequence_length=16
        )
    assert torch.allclose(states, expected, atol=1e-5)
    assert torch.allclose(pooled, expected_pooled, atol=1e-5)


def test_a_text_has_the_same_numbers_whoever_is_beside_it(flux: Flux) -> None:
    texts = [Text("a red circle", "a red circle"), Text("a square", "a square")]
    together, _ = encode_texts(flux, texts, 16)
    flux.texts.clear()
    alone, _ = encode_texts(flux, texts[1:], 16)
    assert torch.equal(together[1], alone[0])


def test_equal_texts_are_encoded_once(flux: Flux) -> None:
    text = Text("a red circle", "a red circle [Reflexion] make the circle blue")
    encode_texts(flux, [text, text], 16)
    encode_texts(flux, [text], 16)
    assert len(flux.texts) == 2  # one for CLIP, one for T5
    encode_texts(flux, [text], 20)
    assert len(flux.texts) == 3


def test_a_text_that_is_cut_off_is_reported_in_tokens(flux: Flux) -> None:
    with pytest.warns(UserWarning, match=r"11 tokens long, but T5 takes 8: the last 3 are cut"):
        encode_texts(flux, [Text("a", "a red circle " * 3 + "a")], 8)


def test_a_text_that_just_fits_is_not_reported(flux: Flux) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_texts(flux, [Text("a", "a red circle left of a square")], 8)


def test_a_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: Cache[str] = Cache(size=2)
    made: list[str] = []
    for key in "abacb":
        cache.get(key, lambda key=key: made.append(key) or key)
    assert "".join(made) == "abcb"
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        ("squash", (1024, 768), (64, 64)),
        ("squash", (1, 1), (64, 64)),
        ("fit", (1024, 512), (64, 32)),
        ("fit", (300, 1000), (16, 64)),
        ("fit", (1, 1000), (16, 64)),
        ("fit", (1, 1), (64, 64)),
    ],
)
def test_pictures_are_resized_to_whole_tokens(fit, size, expected) -> None:
    assert resized(striped(*size), ConditionSettings(64, fit)).size == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_pictures_of_every_mode_become_rgb(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_rgb(striped(8, 8).convert(mode)).mode == "RGB"


def test_a_condition_is_what_the_stock_vae_makes_of_the_squashed_picture(pipeline, flux) -> None:
    picture = striped(80, 40)
    condition = encode_condition(flux, picture, ConditionSettings(32))
    small = picture.resize((32, 32), Image.Resampling.BICUBIC)
    pixels = pipeline.image_processor.preprocess(small)
    with torch.no_grad():
        spread = pipeline.vae.encode(pixels).latent_dist
        latents = (spread.mode() - 0.11) * 0.36
    packed = pipeline._pack_latents(latents, 1, 16, 4, 4)
    assert torch.allclose(condition.latents, packed[0], atol=1e-6)
    assert (condition.rows, condition.columns) == (2, 2)


def test_a_condition_stands_left_of_the_canvas(flux: Flux) -> None:
    ids = encode_condition(flux, striped(64, 32), ConditionSettings(64, "fit")).ids
    assert ids[:, 0].unique().tolist() == [0]
    assert ids[:, 1].unique().tolist() == [0, 1]
    assert ids[:, 2].unique().tolist() == [-4, -3, -2, -1]


def test_equal_pictures_are_encoded_once_and_others_apart(flux: Flux) -> None:
    settings = ConditionSettings(32)
    one = encode_condition(flux, striped(32, 32), settings)
    assert encode_condition(flux, striped(32, 32).copy(), settings).latents is one.latents
    other = encode_condition(flux, striped(32, 32, seed=1), settings)
    assert not torch.equal(other.latents, one.latents)
    flux.pictures.clear()
    assert torch.equal(encode_condition(flux, striped(32, 32), settings).latents, one.latents)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 500}, "multiple of 16"),
        ({"size": 0}, "multiple of 16"),
        ({"fit": "crop"}, "'crop'.*squash, fit"),
        ({"prompt_style": "loud"}, "'loud'.*training, upstream"),
    ],
)
def test_impossible_condition_settings_are_refused(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        ConditionSettings(**settings)


def test_packing_is_the_stock_one_and_comes_undone(pipeline) -> None:
    latents = torch.randn(2, 16, 6, 10)
    tokens = pack(latents)
    assert torch.equal(tokens, pipeline._pack_latents(latents, 2, 16, 6, 10))
    assert torch.equal(unpack(tokens, 3, 5), latents)
    stock = pipeline._prepare_latent_image_ids(2, 3, 5, "cpu", torch.float32)
    assert torch.equal(token_ids(3, 5), stock)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noises_are_those_of_the_stock_pipeline(pipeline, dtype: torch.dtype) -> None:
    seeds = [7, 2**32 - 1]
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    stock, _ = pipeline.prepare_latents(2, 16, 32, 48, dtype, torch.device("cpu"), generators)
    assert torch.equal(pack(starting_noise(seeds, (16, 4, 6), dtype)), stock)


def test_a_neighbour_keeps_the_variance_and_its_distance() -> None:
    shape, dtype = (16, 64, 64), torch.float32
    pivot, near, far = starting_noise([1, Neighbour(1, 2, 0.3), Neighbour(1, 2, 1.0)], shape, dtype)
    assert float(near.std()) == pytest.approx(1, abs=0.01)
    agreement = torch.corrcoef(torch.stack([pivot.flatten(), near.flatten()]))[0, 1]
    assert float(agreement) == pytest.approx((1 - 0.3**2) ** 0.5, abs=0.01)
    assert torch.equal(far, starting_noise([2], shape, dtype)[0])


def test_neighbours_of_neighbours_may_be_many() -> None:
    seed = 0
    for step in range(3000):
        seed = Neighbour(seed, step, 0.1)
    noise = starting_noise([seed], (1, 4, 4), torch.float32)
    assert torch.isfinite(noise).all()


def test_a_neighbour_at_no_distance_is_its_pivot() -> None:
    pivot, same = starting_noise([3, Neighbour(3, 4, 0.0)], (16, 4, 4), torch.bfloat16)
    assert torch.equal(pivot, same)


def test_a_preview_shows_the_rows_side_by_side(flux: Flux) -> None:
    colours = latent_colours(flux)
    picture = preview(torch.zeros(3, 16, 4, 6), colours)
    assert (picture.mode, picture.size) == ("RGB", (18, 4))
    assert colours is latent_colours(flux)
