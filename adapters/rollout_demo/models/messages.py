"""What customers write, and what is true of it: pure functions of a message's number.

Lengths follow the context tokens of AzurePublicDataset's AzureLLMInferenceTrace_conv (see ``rollout_demo.traffic``); a
mail is shorter than a conversation, so a third of them, and a word counts as a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Final

from rollout_demo.traffic import CONTEXT_TOKENS

LONGEST: Final = 900  # words; the shop's form takes no more
ENTITIES: Final = ("kettle", "lamp", "clock", "mirror", "Bergen", "Lyon", "Porto", "Graz")
SUBJECTS: Final = ("late parcel", "wrong colour", "missing screw", "refund", "new address")
FEELINGS: Final = {"positive": "I am delighted.", "neutral": "Please let me know.", "negative": "I am furious."}
#: What makes a message hard for a small model: one in five says something like it.
DOUBT: Final = "On the other hand I cannot say."

_SHORTER: Final = 0.3
_FILLER: Final = (
    "I ordered it some days ago and have kept the box, the bill and all that was in it."
    " It stands in the hall now, where everybody who comes in asks me about it."
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``subject``, ``entities`` and ``sentiment`` are what a good answer says of it."""

    text: str
    sentiment: str
    entities: tuple[str, ...]
    subject: str


def message(number: int) -> Message:
    """The message with that number; the same every time."""
    dice = Random(f"message {number}")
    item, town = dice.choice(ENTITIES[:4]), dice.choice(ENTITIES[4:])
    sentiment, subject = dice.choice(tuple(FEELINGS)), dice.choice(SUBJECTS)
    words = round(CONTEXT_TOKENS.at(dice.random()) * _SHORTER)
    ending = [DOUBT, FEELINGS[sentiment]] if dice.random() < 0.2 else [FEELINGS[sentiment]]
    opening = f"I write from {town} about my {item} and a {subject}."
    room = min(LONGEST, words) - len(f"{opening} {' '.join(ending)}".split())
    filler = " ".join(islice(cycle(_FILLER.split()), max(0, room)))
    return Message(" ".join(filter(None, (opening, filler, *ending))), sentiment, (town, item), subject)
