"""Scenes and their captions: which icons, where, how large, on what background, and the words for it.

A scene has at most three icons. Edges lie on a grid of 16 pixels, one packed latent token, so that an icon of
one size is one pattern of tokens wherever it stands: that is what makes a tiny model draw well. Some
combinations of words are held out: they are never drawn in training, so a prompt of held-out words asks for
something the model has not seen, in words that it has.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .icons import Noun

SLOTS = 3
CANVAS = 128
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (214, 60, 60),
    "orange": (246, 160, 74),
    "yellow": (250, 224, 104),
    "green": (96, 178, 100),
    "blue": (84, 136, 220),
    "purple": (150, 100, 196),
    "pink": (248, 176, 204),
    "grey": (160, 160, 164),
    "black": (36, 36, 40),
}
PATTERNS = ("plain", "striped", "dotted", "checked")
GRID = 16
SIZES = {"small": 48, "": 80, "large": 112}
PAIR_SIZE = 64
PLACES = {
    "": (None, None),
    "on the left": (0.0, None),
    "on the right": (1.0, None),
    "at the top": (None, 0.0),
    "at the bottom": (None, 1.0),
    "in the middle": (0.5, 0.5),
}
TRIANGLES = (((0, 64), (80, 64), (32, 16)), ((0, 16), (80, 16), (48, 64)))
PREFIXES = ("a picture of ", "a drawing of ")
_HELD_OUT_ONE_IN = 16

Slot = tuple[int, float, float, float]


@dataclass
class Scenes:
    """Many scenes as arrays of equal length, ready for the compositor.

    Attributes:
        icons: N × 3 icon numbers, −1 for an empty slot.
        boxes: N × 3 × 3, centre x, centre y and size in pixels.
        colours: N × 3, the background's RGB, 0–255.
        patterns: N × 3, the pattern's number and its phase in x and y in pixels.
        captions: N strings.
    """

    icons: NDArray[np.int64]
    boxes: NDArray[np.float32]
    colours: NDArray[np.float32]
    patterns: NDArray[np.int64]
    captions: list[str]


def held_out(first: str, second: str) -> bool:
    """Whether this pair of words (noun and colour, or noun and noun) is kept out of training."""
    return zlib.crc32(f"{first}|{second}".encode()) % _HELD_OUT_ONE_IN == 0


def with_article(words: str) -> str:
    """Return the words after ``a`` or ``an``."""
    vowel = words[0] in "aeio" or words.startswith("um")
    return f"{'an' if vowel else 'a'} {words}"


def background_words(colour: str, pattern: str) -> str:
    """Return ``on a blue background`` or ``on a blue striped background``."""
    middle = "" if pattern == "plain" else f"{pattern} "
    return f"on {with_article(f'{colour} {middle}background')}"


class SceneMaker:
    """Draws scenes at random; one seed gives one sequence."""

    def __init__(self, nouns: tuple[Noun, ...], seed: int) -> None:
        self.nouns = nouns
        self.rng = np.random.default_rng(seed)

    def make(self, count: int) -> Scenes:
        """Return ``count`` training scenes; none shows a held-out combination."""
        made = [self._scene() for _ in range(count)]
        return Scenes(
            icons=np.array([scene[0] for scene in made], dtype=np.int64),
            boxes=np.array([scene[1] for scene in made], dtype=np.float32),
            colours=np.array([scene[2] for scene in made], dtype=np.float32),
            patterns=np.array([scene[3] for scene in made], dtype=np.int64),
            captions=[scene[4] for scene in made],
        )

    def _scene(self) -> tuple[list[int], list[list[float]], list[float], list[int], str]:
        colour = str(self.rng.choice(list(COLOURS)))
        pattern = int(self.rng.choice(len(PATTERNS), p=(0.82, 0.06, 0.06, 0.06)))
        kind = self.rng.choice(4, p=(0.62, 0.2, 0.08, 0.1))
        if kind == 1:
            slots, words = self._pair(colour)
        elif kind >= 2:
            slots, words = self._several(colour, 2 if kind == 2 else 3)
        else:
            slots, words = self._single(colour)
        prefix = str(self.rng.choice(PREFIXES)) if self.rng.random() < 0.15 else ""
        caption = f"{prefix}{words} {background_words(colour, PATTERNS[pattern])}"
        slots = slots + [(-1, 0.0, 0.0, 1.0)] * (SLOTS - len(slots))
        rgb = np.clip(np.array(COLOURS[colour]) + self.rng.uniform(-4, 4, 3), 0, 255)
        phase = GRID * self.rng.integers(0, 2, 2)
        return (
            [slot[0] for slot in slots],
            [list(slot[1:]) for slot in slots],
            rgb.tolist(),
            [pattern, int(phase[0]), int(phase[1])],
            caption,
        )

    def _noun(self, colour: str, beside: str | None = None) -> int:
        while True:
            number = int(self.rng.integers(len(self.nouns)))
            word = self.nouns[number].singular
            if not held_out(word, colour) and (beside is None or not held_out(beside, word)):
                return number

    def _single(self, colour: str) -> tuple[list[Slot], str]:
        number = self._noun(colour)
        word = str(self.rng.choice(list(SIZES), p=(0.2, 0.4, 0.4)))
        place = (
            ""
            if word == "large"
            else str(self.rng.choice(list(PLACES), p=(0.4, 0.12, 0.12, 0.12, 0.12, 0.12)))
        )
        size = SIZES[word]
        left, top = (self._edge(share, size) for share in PLACES[place])
        words = with_article(f"{word} {self.nouns[number].singular}".strip())
        return [_slot(number, left, top, size)], f"{words} {place}".strip()

    def _edge(self, share: float | None, size: int) -> int:
        """Return an edge on the grid: at this share of the room, or anywhere."""
        room = (CANVAS - size) // GRID
        return GRID * (int(self.rng.integers(room + 1)) if share is None else round(share * room))

    def _pair(self, colour: str) -> tuple[list[Slot], str]:
        first = self._noun(colour)
        second = self._noun(colour, beside=self.nouns[first].singular)
        words = " and ".join(with_article(self.nouns[n].singular) for n in (first, second))
        return self._row(first, second), words

    def _several(self, colour: str, count: int) -> tuple[list[Slot], str]:
        number = self._noun(colour)
        if count == 2:
            return self._row(number, number), f"two {self.nouns[number].plural}"
        places = TRIANGLES[int(self.rng.integers(len(TRIANGLES)))]
        slots = [_slot(number, left, top, SIZES["small"]) for left, top in places]
        return slots, f"three {self.nouns[number].plural}"

    def _row(self, first: int, second: int) -> list[Slot]:
        top = GRID * int(self.rng.integers(1, 4))
        return [_slot(first, 0, top, PAIR_SIZE), _slot(second, PAIR_SIZE, top, PAIR_SIZE)]


def _slot(number: int, left: int, top: int, size: int) -> Slot:
    return number, left + size / 2, top + size / 2, float(size)


def held_out_prompts(nouns: tuple[Noun, ...], count: int, seed: int = 0) -> list[str]:
    """Return prompts whose words are all trained and whose combination never is."""
    rng = np.random.default_rng(seed)
    colours = list(COLOURS)
    unseen = [(n.singular, c) for n in nouns for c in colours if held_out(n.singular, c)]
    pairs = [
        (a.singular, b.singular)
        for a in nouns
        for b in nouns
        if a is not b and held_out(a.singular, b.singular)
    ]
    unseen, pairs = ([these[i] for i in rng.permutation(len(these))] for these in (unseen, pairs))
    plural = {noun.singular: noun.plural for noun in nouns}
    prompts: list[str] = []
    for index in range(count):
        noun, colour = unseen[index % len(unseen)]
        form = index % 5
        if form == 0:
            subject = with_article(noun)
        elif form == 1:
            subject = with_article(f"large {noun}")
        elif form == 2:
            subject = f"{with_article(f'small {noun}')} {rng.choice(list(PLACES)[1:])}"
        elif form == 3:
            subject = f"{rng.choice(['two', 'three'])} {plural[noun]}"
        else:
            subject = " and ".join(with_article(word) for word in pairs[index % len(pairs)])
        pattern = "plain" if index % 4 else str(rng.choice(PATTERNS[1:]))
        prompts.append(f"{subject} {background_words(colour, pattern)}")
    return prompts
