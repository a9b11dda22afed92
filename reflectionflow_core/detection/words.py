"""Numbers, colours, singulars and plurals in words, as GenEval writes them."""

from __future__ import annotations

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {
    **{"person": "people", "child": "children", "man": "men", "woman": "women", "mouse": "mice"},
    **{"goose": "geese", "foot": "feet", "tooth": "teeth", "ox": "oxen", "die": "dice"},
    **{"wolf": "wolves", "shelf": "shelves", "calf": "calves", "half": "halves", "elf": "elves"},
    **{"leaf": "leaves", "loaf": "loaves", "thief": "thieves", "hoof": "hooves"},
    **{"scarf": "scarves", "dwarf": "dwarves", "knife": "knives", "wife": "wives"},
    **{f"{word}o": f"{word}oes" for word in ("her", "potat", "tomat", "mang", "volcan", "tornad")},
}
# A pair of these is one thing.
_PAIRED = """
    scissors skis jeans pants trousers shorts tights leggings sunglasses eyeglasses goggles
    binoculars headphones earphones pajamas pyjamas pliers tweezers
"""
PAIRED = tuple(_PAIRED.split())
_SAME_PLURAL = ("sheep", "deer", "fish", "moose", "series", "species", "clothes", *PAIRED)
_PLURALS |= {word: word for word in _SAME_PLURAL}


# Last parts of words, as in policewoman and bookshelf.
_COMPOUNDS = ("woman", "man", "child", "shelf", "wolf", "leaf", "knife", "scarf")
_NO_MEN = ("human", "german", "roman", "shaman", "talisman", "ottoman", "caiman")


def quantity(count: int, noun: str) -> str:
    """A number of objects in words: "a red cup", "an apple", "two wine glasses"."""
    if count != 1:
        word = NUMBERS[count] if count < len(NUMBERS) else str(count)
        return f"{word} {plural(noun)}"
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The plural of an English noun, such as a detector's class."""
    before, space, last = noun.rpartition(" ")
    part = next((part for part in _COMPOUNDS if last.endswith(part)), "")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif part and last not in _NO_MEN:
        last = f"{last.removesuffix(part)}{_PLURALS[part]}"
    elif last.endswith(("s", "x", "ch", "sh")):
        last = f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last = f"{last}s"
    return f"{before}{space}{last}"


# Exceptions from the rules: words with an e or i before the s, or ending in s or men.
_IN_E = """
    cookie movie zombie brownie selfie hoodie smoothie genie collie rookie pixie prairie magpie
    hippie budgie bowtie necktie auntie goalie beanie sweetie calorie talkie veggie birdie
    shoe canoe toe hoe oboe foe floe aloe horseshoe snowshoe mistletoe
    moustache mustache cache ache headache toothache avalanche quiche brioche niche cartouche
    axe pickaxe
    taxi kiwi zucchini bikini
"""
_IN_S = ("canvas", "atlas", "gas", "lens", "christmas", "rhinoceros", "thermos", "cosmos", "chaos")
_SINGULARS = {
    **{f"{word}es": word for word in _IN_S},
    **{f"{word}s": word for word in _IN_E.split()},
    **{word: word for word in (*_IN_S, "ramen", "omen", "specimen", "abdomen", "cyclamen")},
    **{plural: word for word, plural in _PLURALS.items()},
}
_PARTS = ("people", *(_PLURALS[part] for part in _COMPOUNDS))


def singular(noun: str) -> str:
    """The singular of an English plural; a singular is unchanged."""
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_singular(last)}"


def _singular(word: str) -> str:
    if word in _SINGULARS:
        return _SINGULARS[word]
    part = next((part for part in _PARTS if word.endswith(part)), None)
    if part:
        return f"{word.removesuffix(part)}{_SINGULARS[part]}"
    if word.endswith(("ss", "us", "is")) or not word.endswith("s") or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes", "oes")):
        return word[:-2]
    return word[:-2] if word.endswith("uses") and not word.endswith("ouses") else word[:-1]
