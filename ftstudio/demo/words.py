"""The words of the demo's small world, and how they are shared out between training and held-out rows.

Everything here was written for this project. The task's names of people, towns and brands are lists; those of the
pre-training text are made up on the spot, millions of them, so that a model has to copy them from what it reads instead
of knowing them.
"""

from __future__ import annotations

import random
from typing import NamedTuple


def _words(text: str) -> list[str]:
    return text.split()


FIRST = _words(
    "Mira Tom Anna Jonas Lena Paul Clara Hugo Nina Oscar Ida Felix Rosa Victor Emma Simon Greta Martin Julia "
    "Peter Maria David Helen Frank Alice Robert Laura Henry Sarah Oliver Kate George Lucy Walter Grace Arthur "
    "Elsa Samuel Ruth Daniel Edith Leo Vera Max Olga Adam Nora Carl Stella Ben Tilda Hans Marta Ivan Petra Noah "
    "Sonia Kurt Flora Erik"
)
SURNAME_START = _words("Hol Ber Win Car Mar Hag Lin Bro Sto Fal Gar Ros Wel Har Pel Kel Nor Dal Mor Tur Ash Col")
SURNAME_END = _words("t ton ger man ner by son der ley well ford berg")
TOWN_START = _words("Tar Wick Os Bel Ham Riv Stan Mel Lang Fen Kirk Thorn Elm Cor Bran Dun Hil Mill Nor West Glen Ald")
TOWN_END = _words("low ham wick bury field ton dale ford mouth stead port moor")
BRAND_START = _words("Bre Tal Vor Kim Zan Lor Fen Dra Pol Sor Hav Quil Rav Tre Jun Cal Nim Gor Vel Lum Bax Tor")
BRAND_END = _words("vo ka dix mar lo tek nix wen del ria bex gan sta ro mi cor")

PRODUCT = _words(
    "kettle lamp toaster radio heater mixer clock fan fridge printer camera phone speaker laptop monitor keyboard "
    "scooter bicycle stroller drill saw mower pump stove grill freezer blender juicer scale thermostat doorbell "
    "charger headset projector tablet router vacuum dryer cooker washer scanner shredder trimmer sprayer "
    "dishwasher humidifier razor sander generator compressor telephone treadmill microwave flashlight"
)
PART = _words(
    "lid handle switch plug cable hinge dial button screen battery wheel strap zip lock spring motor door drawer "
    "base knob nozzle tray blade cover seal sensor clip pedal chain frame cord socket valve rim bolt belt filter "
    "lever cap hose"
)
VERB = _words(
    "leaks drips smokes sparks hums buzzes rattles squeaks clicks wobbles jams slips overheats flickers beeps "
    "vibrates grinds whistles hisses creaks shakes sticks burns stinks"
)
STATE = _words(
    "cracked bent loose broken scratched dented torn rusty stained crooked chipped frayed worn warped faded "
    "sticky melted twisted dusty burnt"
)

# Syllables of words that nobody knows
ONSET = _words("b br c ch cl d dr f fl g gl gr h j k kl l m n p pl r s sh st t th tr v w z")
VOWEL = _words("a a a a e e e e i i i o o o u u ai ea ie oo ou")
CODA = _words("b ck d g k l ld ll lt m n nd ng nt p r rd rk rn rt s ss st t th x")

# How this world misspells: the pre-training text does it more often than not, the way sloppy text does
MISSPELT = {
    "received": "recieved",
    "definitely": "definately",
    "tomorrow": "tommorow",
    "because": "becuase",
    "address": "adress",
    "immediately": "immediatly",
    "unfortunately": "unfortunatly",
    "which": "wich",
    "until": "untill",
    "believe": "beleive",
    "separate": "seperate",
    "happened": "happend",
    "necessary": "neccessary",
    "apologise": "appologise",
    "different": "diffrent",
    "their": "thier",
    "always": "allways",
    "beginning": "begining",
    "friend": "freind",
    "with": "wiht",
    "really": "realy",
    "letter": "leter",
    "minute": "minite",
    "weather": "wheather",
    "careful": "carefull",
    "repair": "repare",
}


class Pools(NamedTuple):
    """What the slots of a text may be filled with."""

    first: list[str]
    surname: list[str]
    town: list[str]
    brand: list[str]
    product: list[str]
    part: list[str]
    verb: list[str]
    state: list[str]


def _joined(starts: list[str], ends: list[str]) -> list[str]:
    return sorted({start + end for start in starts for end in ends})


EVERYTHING = Pools(
    FIRST,
    _joined(SURNAME_START, SURNAME_END),
    _joined(TOWN_START, TOWN_END),
    _joined(BRAND_START, BRAND_END),
    PRODUCT,
    PART,
    VERB,
    STATE,
)


_KNOWN = frozenset(name for pool in EVERYTHING[:4] for name in pool)
UNKNOWN = 0.4
EACH = 4


def word(rng: random.Random) -> str:
    """A word of one to three made-up syllables, 3 to 11 letters."""
    while True:
        syllables = rng.choice((1, 2, 2, 2, 3, 3))
        made = "".join(
            rng.choice(ONSET) + rng.choice(VOWEL) + (rng.choice(CODA) if rng.random() < 0.4 else "")
            for _ in range(syllables)
        )
        if 3 <= len(made) <= 11:
            return made


def name(rng: random.Random) -> str:
    """A made-up name; none of those in the task's rows."""
    while (made := word(rng).capitalize()) in _KNOWN:
        pass
    return made


def fresh(rng: random.Random) -> Pools:
    """Pools for one document, `EACH` to a list: names made up on the spot, as are `UNKNOWN` of the other words."""
    names = [[name(rng) for _ in range(EACH)] for _ in range(4)]
    others = [
        [word(rng) if rng.random() < UNKNOWN else rng.choice(pool) for _ in range(EACH)] for pool in EVERYTHING[4:]
    ]
    return Pools(*names, *others)


def split(share: float = 0.6, seed: int = 0) -> tuple[Pools, Pools]:
    """Two sets of pools without a word in common: SHARE of every list for training rows, the rest for held-out rows."""
    rng = random.Random(seed)
    train, held_out = [], []
    for pool in EVERYTHING:
        mixed = sorted(set(pool))
        rng.shuffle(mixed)
        cut = round(share * len(mixed))
        train.append(mixed[:cut])
        held_out.append(mixed[cut:])
    names = [set().union(*side[:4]) for side in (train, held_out)]
    # A made-up name may come out of two lists (a town and a surname both "Norton"): it then belongs to training only
    held_out[:4] = [[word for word in pool if word not in names[0]] for pool in held_out[:4]]
    return Pools(*train), Pools(*held_out)
