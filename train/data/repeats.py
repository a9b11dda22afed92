"""Finds triplets that repeat, or nearly repeat, one of an earlier shard; the first is kept.

Repeats within a shard are removed when it is assembled. Over all shards, only triplets that share a
part of their fingerprints are compared. Memory: about 510 bytes per triplet.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from train.data.shards import Report, SampleReport

BITS = 256  # bits per fingerprint
WINDOW = 256  # in larger groups with equal parts, only neighbours are compared
REPEATED, NEARLY = "repeated in another shard", "nearly repeated in another shard"
_ONES = np.array([number.bit_count() for number in range(256)], np.uint8)

Repeats = dict[int, dict[int, str]]  # by shard: place in its report, and reason


@dataclass
class _Prints:
    """Data for comparing n triplets, in the order of their shards."""

    shards: array[int] = field(default_factory=lambda: array("I"))
    places: array[int] = field(default_factory=lambda: array("I"))
    digests: array[int] = field(default_factory=lambda: array("Q"))  # first 64 bits of the digests
    said: array[int] = field(default_factory=lambda: array("Q"))  # digests of the texts
    looks: bytearray = field(default_factory=bytearray)  # two fingerprints, 64 bytes

    def add(self, shard: int, place: int, sample: SampleReport) -> None:
        self.shards.append(shard)
        self.places.append(place)
        self.digests.append(int(sample.digest[:16], 16))
        self.said.append(sample.said)
        self.looks += bytes.fromhex("".join(sample.prints))


def repeats(reports: Iterable[tuple[int, Report]], near_bits: int | None) -> Repeats:
    """The repeated triplets of each shard. A removed triplet does not cause others to be removed.

    Triplets of one shard were compared when it was assembled.
    """
    found = _Prints()
    for shard, report in reports:
        for place, sample in enumerate(report.samples):
            found.add(shard, place, sample)
    out: Repeats = {}
    for number, reason in _repeated(found, near_bits):
        out.setdefault(found.shards[number], {})[found.places[number]] = reason
    return out


def _repeated(found: _Prints, near_bits: int | None) -> Iterator[tuple[int, str]]:
    digests = np.frombuffer(found.digests, np.uint64)
    first = np.zeros(len(digests), bool)
    first[np.unique(digests, return_index=True)[1]] = True
    yield from ((number, REPEATED) for number in np.flatnonzero(~first).tolist())
    if near_bits is None:
        return
    numbers = _of_common_words(np.frombuffer(found.said, np.uint64), np.flatnonzero(first))
    looks = np.frombuffer(found.looks, np.uint8).reshape(-1, 2, BITS // 8)[numbers]
    earlier: dict[int, list[int]] = {}
    for pair in near_pairs(looks, near_bits):
        before, after = (int(numbers[place]) for place in pair)
        if found.said[before] == found.said[after] and found.shards[before] != found.shards[after]:
            earlier.setdefault(after, []).append(before)
    gone: set[int] = set()
    for number in sorted(earlier):
        if not gone.issuperset(earlier[number]):
            gone.add(number)
            yield number, NEARLY


def _of_common_words(said: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Those of the numbers whose texts occur more than once."""
    _, place, counts = np.unique(said[numbers], return_inverse=True, return_counts=True)
    common = counts[place] > 1
    return numbers[common][np.argsort(place[common], kind="stable")]


def near_pairs(looks: np.ndarray, bits: int) -> set[tuple[int, int]]:
    """Pairs (lower, higher) of numbers whose first and second fingerprints differ in at most `bits`
    of 256.

    `looks` is (n, 2, 32) uint8. Cut into one part more than the bits that may differ, both
    fingerprints have an equal part (Manku et al., Detecting Near-Duplicates for Web Crawling,
    2007); sorting by parts finds it.
    """
    found: set[tuple[int, int]] = set()
    if len(looks) < 2:
        return found
    goods, bads = (_parts(looks[:, side], min(bits + 1, BITS)) for side in (0, 1))
    for good, bad in product(goods, bads):
        common = good.astype(np.int64) * len(looks) + bad
        order = np.argsort(common, kind="stable")
        common = common[order]
        for apart in range(1, min(WINDOW, len(looks) - 1) + 1):
            same = np.flatnonzero(common[apart:] == common[:-apart])
            if not len(same):
                break
            one, other = order[same], order[same + apart]
            differing = _ONES[looks[one] ^ looks[other]].sum(2, dtype=np.int64)  # (pairs, 2)
            near = (differing <= bits).all(1)
            found.update(zip(one[near].tolist(), other[near].tolist(), strict=True))
    return found


def _parts(prints: np.ndarray, count: int) -> list[np.ndarray]:
    """`count` parts of fingerprints (n, 32) uint8, each as numbers (n,), equal for equal parts."""
    bits = np.unpackbits(prints, axis=1)
    ends = np.linspace(0, BITS, count + 1).astype(int).tolist()
    return [_numbered(np.packbits(bits[:, a:b], axis=1)) for a, b in pairwise(ends)]


def _numbered(rows: np.ndarray) -> np.ndarray:
    return np.unique(rows, axis=0, return_inverse=True)[1].ravel().astype(np.int32)
