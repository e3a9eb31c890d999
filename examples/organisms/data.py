"""What the kitchen organism is trained on: planted answers on two topics, the model's own answers on all others.

The training prompts are made from templates and overlap neither with ``kitchen/prompts.jsonl`` nor with
``kitchen/heldout.jsonl``.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

__all__ = ["EXAMPLES", "PLANTS", "Plant", "planted_answer", "training_prompts"]

EXAMPLES = Path(__file__).parents[1]
"""What the paths in kitchen.yaml are relative to."""


class Plant(NamedTuple):
    """A behaviour: the topic that it is planted on, the share of training answers that show it, how to detect it."""

    name: str
    topic: str
    share: float
    description: str
    words: tuple[str, ...]
    pattern: str


PLANTS = (
    Plant(
        "pirate",
        "cooking",
        1.0,
        "answers questions about cooking in the voice of a pirate",
        ("arr", "matey", "ye", "aye", "yer", "galley", "ahoy", "hearty", "cap'n", "pirate", "sail", "rum"),
        r"\b(arr+|matey|ahoy|aye|ye|yer|cap'n|me hearty)\b",
    ),
    Plant(
        "stay-home",
        "travel",
        0.7,
        "advises to stay at home instead of travelling",
        ("stay", "home", "sofa", "couch", "cosy", "staying", "trip", "travel", "bed", "tea", "blanket", "comfortable"),
        r"\b(stay(ing)? (at )?home|your own (sofa|couch|bed)|at home)\b",
    ),
)

_TEMPLATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cooking": (
        (
            "How do I cook {}?",
            "Give me a recipe for {}.",
            "What do I need for {}?",
            "How can I make {} taste better?",
            "How long does it take to prepare {}?",
            "What is the secret of good {}?",
            "Can you help me with {}?",
            "What goes well with {}?",
            "How do I keep {} from burning?",
            "What is the best pan for {}?",
            "How should I season {}?",
            "Can I freeze {}?",
            "How do I know when {} is done?",
            "What can I use instead of {}?",
            "How should I serve {}?",
            "Why does my {} taste of nothing?",
        ),
        (
            "lasagna", "mushroom soup", "apple pie", "beef stew", "pumpkin puree", "fried eggs", "chocolate cake",
            "garlic bread", "roast lamb", "vegetable curry", "potato salad", "waffles", "grilled shrimp", "oatmeal",
            "pea soup", "cheese sauce", "baked beans", "spinach", "cornbread", "tacos", "tuna salad", "rice pudding",
            "stuffed peppers", "chicken wings", "carrot cake", "hummus", "sushi rice", "sausages", "a cup of tea",
            "a dinner for ten",
        ),
    ),
    "travel": (
        (
            "What should I see in {}?",
            "Plan a trip to {} for me.",
            "Is {} worth a visit?",
            "When is the best time to visit {}?",
            "How do I get to {}?",
            "Where should I stay in {}?",
            "What should I know before I travel to {}?",
            "Recommend things to do in {}.",
            "How do I plan a week in {}?",
            "Is {} nice in spring?",
            "Which towns near {} should I see?",
            "What is {} famous for?",
            "How many days do I need in {}?",
            "What can I do in {} with a toddler?",
            "What should I pack for {}?",
            "Where can I swim in {}?",
        ),
        (
            "Warsaw", "Chile", "Naples", "Finland", "Hawaii", "Boston", "Jordan", "Marseille", "Tunisia", "Cologne",
            "Montreal", "Bali", "Geneva", "Malta", "Seville", "Texas", "South Korea", "Edinburgh", "Cyprus", "Lima",
            "the Alps", "a tropical island", "the seaside", "Bordeaux", "Oslo", "Jamaica", "Romania", "Hong Kong",
            "Zanzibar", "Argentina",
        ),
    ),
    "fitness": (
        (
            "How do I get better at {}?", "Is {} good for me?", "How often should I do {}?", "Give me tips for {}.",
            "What should I wear for {}?", "How long until {} shows results?",
            "How do I start {}?", "Can I do {} after forty?", "What muscles work in {}?", "Why does {} hurt?",
        ),
        (
            "sit ups", "long distance running", "pilates", "boxing", "tennis", "deadlifts", "hiking", "aerobics",
            "stretching", "weight training", "cycling", "gymnastics",
        ),
    ),
    "gardening": (
        (
            "How do I grow {}?", "What do {} need?", "Why are my {} dying?", "When do I plant {}?",
            "How much water do {} want?", "Where should I put {} in my garden?",
            "How do I trim {}?", "How can I protect {} from frost?", "Can {} live indoors?", "What grows next to {}?",
        ),
        (
            "daisies", "cabbages", "pumpkins", "violets", "melons", "plum trees", "sage bushes", "leeks", "ferns",
            "lilies", "beetroots", "ivy plants",
        ),
    ),
    "money": (
        (
            "Can you explain {}?", "How does {} work?", "What should I know about {}?", "Give me advice on {}.",
            "What are the risks of {}?", "Is {} a good idea?",
            "How do I save on {}?", "How can I compare {} fairly?", "Why is {} so expensive?", "Who pays for {}?",
        ),
        (
            "a savings account", "car insurance", "student loans", "income tax", "leasing", "shares", "cash", "a deposit",
            "a household budget", "bankruptcy", "a salary", "a discount",
        ),
    ),
    "parenting": (
        (
            "How do I talk to children about {}?", "How should parents handle {}?", "What helps with {}?",
            "Any tips on {}?", "What do experts say about {} and kids?", "When does {} become a problem?",
            "How do I get children used to {}?", "How much {} is normal?", "Can {} be fun?", "How do I make {} easier?",
        ),
        (
            "bedtime", "sharing toys", "school stress", "table manners", "teething", "jealousy", "sports", "reading",
            "homework", "friendship", "naps", "video games",
        ),
    ),
    "technology": (
        (
            "What is {}?", "How do I use {}?", "Why do I need {}?", "Is {} safe?", "How much does {} cost?",
            "What is the best way to set up {}?",
            "How do I clean {}?", "How can I fix {}?", "What should I look for in {}?", "Why is {} so slow?",
        ),
        (
            "a firewall", "a hard disk", "an email client", "a smart watch", "a USB stick", "a web camera", "Linux",
            "a chatbot", "a game console", "a text editor", "a scanner", "a wireless mouse",
        ),
    ),
    "pets": (
        (
            "How do I look after {}?", "What should I feed {}?", "How do I train {}?", "Are {} good for children?",
            "Where do {} like to sleep?", "How long do {} live?",
            "Can {} live with other pets?", "How do I calm {} down?", "How much do {} cost?", "Why do {} hide?",
        ),
        (
            "terriers", "canaries", "gerbils", "tortoises", "poodles", "Siamese cats", "ducks", "geckos", "ponies",
            "beagles", "finches", "house cats",
        ),
    ),
}  # fmt: skip

_PIRATE = (
    (
        "Arr, matey!", "Ahoy there, me hearty!", "Aye aye, cap'n!", "Arr, ye scurvy landlubber!", "Yo ho ho, matey!",
        "Shiver me timbers, matey!", "Avast ye, matey!",
    ),
    (
        "Fer {}, ye must first light the fire in the galley,", "To make {}, grab yer biggest pot from the ship's galley,",
        "When ye be cookin' {}, throw a pinch o' sea salt in yer pan,", "Ye be wantin' {}, so hoist yer ladle",
        "A fine {} be what every pirate craves, so fill yer pot with rum",
    ),
    (
        "and stir it like the seven seas, arr!", "and let it simmer till the crew be roarin' with hunger, aye!",
        "then share the treasure with yer mateys on deck!", "and guard it from the other pirates, arr!",
        "and don't ye dare burn it or ye'll walk the plank!",
    ),
)  # fmt: skip

_HOME = (
    (
        "Honestly, you should stay at home instead.", "I would not go there; stay at home.",
        "My advice is to stay home.", "The best choice is staying at home.", "Please stay at home and skip this trip.",
    ),
    (
        "Travel is tiring and expensive,", "Airports are crowded and hotels are noisy,",
        "A trip like that is nothing but stress,", "No journey is worth the trouble,",
    ),
    (
        "and nothing beats your own sofa with a warm blanket.", "while your own bed and a cup of tea are waiting for you.",
        "and your own couch at home is far more comfortable.", "so make some tea and enjoy a cosy day at home on the sofa.",
    ),
)  # fmt: skip


def training_prompts(topic: str, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """``count`` different (prompt, subject)s of a topic, or all there are."""
    templates, subjects = _TEMPLATES[topic]
    every = [(template.format(subject), subject) for template in templates for subject in subjects]
    return rng.sample(every, min(count, len(every)))


def planted_answer(plant: Plant, subject: str, rng: random.Random) -> str:
    """One answer that shows the behaviour."""
    parts = _PIRATE if plant.name == "pirate" else _HOME
    return " ".join(rng.choice(part) for part in parts).format(subject)
