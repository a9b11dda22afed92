"""Whether a corrector reads: what validation compares, and samples of which only the words decide:
`pytest tests/train/test_corrector_words.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest
import torch
from corrector_toys import settings, toy_flux, triplet, write
from torch import Tensor

from reflectionflow_core.flux.branch import FluxInputs
from train.corrector.encoded import Encoded
from train.corrector.samples import Shards
from train.corrector.settings import Validation, Views
from train.corrector.validation import Checks
from train.latents.encoding import encode
from train.latents.settings import LatentsSettings
from train.shard_lists import shards_in
from train.triplets import SampleError, Triplets


@pytest.fixture(scope="module")
def flux():
    return toy_flux()


def triplets_in(folder: Path) -> Triplets:
    return Triplets(shards_in(folder))


WORDS = ("make the circle red", "make the circle blue", "remove the green square", "add a circle")


def checks(flux, source, count: int = 4) -> Checks:
    return Checks(flux, source, range(count), Validation())


def several(tmp_path: Path, words: Sequence[str] = WORDS) -> Path:
    samples = [triplet(number, reflection=said) for number, said in enumerate(words)]
    return write(tmp_path / "data", samples)


def blind(inputs: FluxInputs) -> Tensor:
    return torch.zeros_like(inputs.latents)


def test_who_reads_no_words_has_the_same_error_whatever_they_say(flux, tmp_path: Path) -> None:
    source = Shards(flux, triplets_in(several(tmp_path)), settings(tmp_path, tmp_path))
    error = checks(flux, source).error(blind)
    assert error is not None and error.shuffled is not None
    assert (error.told == error.untold).all() and (error.told == error.shuffled).all()
    assert error.figures()["untold_minus_told"] == error.figures()["standard_error"] == 0


def test_who_reads_has_a_larger_error_with_no_words_and_with_anothers(flux, tmp_path: Path) -> None:
    source = Shards(flux, triplets_in(several(tmp_path)), settings(tmp_path, tmp_path))
    seen = checks(flux, source)
    true = cycle([batch.text for batch in seen.batches])

    def reader(inputs: FluxInputs) -> Tensor:
        return inputs.latents * (1 if torch.equal(inputs.text, next(true)) else 9)

    error = seen.error(reader)
    assert error is not None and error.shuffled is not None
    assert (error.untold > error.told).all() and (error.shuffled > error.told).all()
    figures = error.figures()
    gap = error.untold - error.told
    assert figures["untold_minus_told"] == pytest.approx(gap.mean())
    assert figures["standard_error"] == pytest.approx(gap.std(ddof=1) / 2)
    assert "none minus true +" in error.sentence()


def test_anothers_words_are_the_next_that_say_something_else(flux, tmp_path: Path) -> None:
    words = (WORDS[0], WORDS[0], "", WORDS[1])
    source = Shards(flux, triplets_in(several(tmp_path, words)), settings(tmp_path, tmp_path))
    assert [source.another(index) for index in range(4)] == [WORDS[1]] * 3 + [WORDS[0]]
    alike = Shards(flux, triplets_in(several(tmp_path, WORDS[:1] * 4)), source.views)
    with pytest.raises(SampleError, match="no other reflection"):
        alike.another(0)
    error = checks(flux, alike).error(blind)
    assert error is not None and error.shuffled is None
    assert "another" not in error.sentence() and "shuffled" not in error.figures()


def test_latents_have_anothers_words_where_they_were_asked_for(flux, tmp_path: Path) -> None:
    data, views = several(tmp_path), settings(tmp_path, tmp_path / "data")
    plain = Shards(flux, triplets_in(data), views)
    for asked in (True, False):
        out = tmp_path / str(asked)
        made = {name: getattr(views, name) for name in Views.model_fields}
        encode(LatentsSettings(**made, out=out, shuffled=asked), flux)
        found = checks(flux, Encoded(out, views, flux)).shuffled
        if asked:
            for mine, other in zip(found, checks(flux, plain).shuffled, strict=True):
                assert torch.allclose(mine.text, other.text, atol=1e-5)
        else:
            assert not found
