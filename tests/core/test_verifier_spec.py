"""A verifier as text: what it joins is found again, whatever stands in a path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers.spec import VerifierSpec, parse_verifiers

NAMES = ("exact", "yes-no", "clip-score")
SOURCES = st.sampled_from(["", "C:/a+b/clip", "/x/exact.d", "/m+yes/2*3", "org/name", "/p+0.5"])
parts = st.builds(VerifierSpec, st.sampled_from(NAMES), SOURCES, st.sampled_from([1.0, 2.0, 0.5]))


@given(st.lists(parts, min_size=1, max_size=4, unique_by=lambda part: part.text))
def test_what_was_joined_is_found_again(joined: list[VerifierSpec]) -> None:
    spec = "+".join((f"{p.weight:g}*" if p.weight != 1 else "") + p.text for p in joined)
    assert parse_verifiers(spec, NAMES) == joined


@pytest.mark.parametrize("spec", ["exact+exact", "exact+2*exact", "yes-no:x+exact+yes-no:x"])
def test_a_verifier_joined_with_itself_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="joined with itself"):
        parse_verifiers(spec, NAMES)


@pytest.mark.parametrize(
    "spec", ["", "gone", "exact+gone", "+exact", "exact+", "x*exact", "exact yes-no"]
)
def test_what_names_no_verifier_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(InputError, match="Choose one of: exact, yes-no, clip-score"):
        parse_verifiers(spec, NAMES)


@pytest.mark.parametrize("weight", ["0", "0.0", "9999999", "9" * 400])
def test_a_weight_that_leaves_out_or_drowns_a_verifier_is_refused(weight: str) -> None:
    with pytest.raises(InputError, match="The weight of the verifier exact must be above 0"):
        parse_verifiers(f"{weight}*exact+yes-no", NAMES)
