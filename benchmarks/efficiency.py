"""Pairs until a planted difference is claimed: steered by ``leads`` and its rivals against uniform sampling.

    python benchmarks/efficiency.py                  # every plant of worlds.yaml, 20 seeds, uniform and leads
    python benchmarks/efficiency.py --rules uniform leads margin balance schedule --only 0.01
    python benchmarks/efficiency.py --world sentences   # on embeddings of real sentences (worlds/sentences.py)
    python benchmarks/efficiency.py --world real        # on texts of SmolLM2 and of five adapters (worlds/real.py)
    python benchmarks/efficiency.py --world rare        # on the same texts, what they plant made rare (worlds/rare.py)
    QUICK=1 python benchmarks/efficiency.py          # a few plants, 5 seeds

Each run has a world and a stream of its own; the rules share the clusterer, the births, the evidence and the weights, so
only the choice of prompts differs. Beside each ratio stands its bound: with p the share of prompts, r the rate there,
H = 14.5 discordant pairs to found and decide a cluster and h hits before the focus,

    uniform = max(W, H / (p r)),   steered = max(W, h / (.7 p r)) + H / ((1 - u) r) + 2 B.

*Spare* is, of the last rule's pairs, what went neither into seeing the behaviour for the first time nor into the H pairs that
decide: the most that anything which acts on a lead could save, such as forcing an answer to begin as an exemplar does. Such
answers count in no claim, and there is no exemplar before the first answer that shows the behaviour by itself.

A run is given up after three times what uniform sampling is expected to need. Where half of the runs were, >= marks the
least that the median, and with it the ratio, can be; the JSON has null there, and the bound beside it. ``--part eight``
plants many behaviours at once, and draws recall and precision against pairs on a page.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import get_args

from contraflow.errors import ConfigurationError
from contraflow.sampler.rules import RuleName
from finding.single import measure
from finding.together import together
from screen import screen
from worlds.loading import WORLDS, build, load_setups

EIGHT = 25
"""Seeds of the worlds with eight behaviours: with two rules 50 runs."""
PAGES = Path(__file__).parents[1] / "build" / "efficiency"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=WORLDS, default="mixture")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--rules", nargs="+", choices=get_args(RuleName), default=["uniform", "leads"])
    parser.add_argument("--only", type=float, help="only the plants on this share of the prompts")
    parser.add_argument("--part", choices=("single", "harder", "eight"), action="append", help="may be given again")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    try:
        setup = load_setups()[options.world]
        build(options.world, 0)  # a corpus is encoded here, once, and not by every process
    except ConfigurationError as error:
        parser.error(str(error))
    seeds = options.seeds or (5 if options.quick else setup.seeds)
    figures: dict[str, float | None] = {}
    parts = options.part or (["single"] if options.quick else ["single", "harder", "eight"])
    for part in parts:
        if part == "eight":
            many = seeds if options.quick or options.seeds else EIGHT
            page = (PAGES / f"{options.world}.html").resolve()
            figures |= together(options.world, options.rules, many, console, page)
            continue
        rows = setup.single if part == "single" else setup.harder
        chosen = [row for row in rows if options.only in (None, row.share)]
        if options.quick:
            chosen = [row for row in chosen if row.share * row.rate >= 0.002][::3]
        if chosen:
            figures |= measure(options.world, chosen, options.rules, seeds, console)
    if options.json:
        print(json.dumps(figures, allow_nan=False))


if __name__ == "__main__":
    main()
