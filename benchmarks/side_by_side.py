"""The batch pipeline, the batch world's schedule and contraflow on the same 200,000 texts, with known truth.

    python benchmarks/side_by_side.py             # 4,000 prompts x 25 draws x 2 arms
    python benchmarks/side_by_side.py --quick     # 400 prompts: a tenth
    python benchmarks/side_by_side.py --embedder all-MiniLM-L6-v2

*batch* decodes and embeds everything, runs k-means once and tests each cluster (Fisher, BH at .05). *schedule* decodes
15,000 texts: a first part, then rounds at the boundaries, then the same tests. *contraflow* is the ring, to a budget of
a tenth of the texts. Blocks of 32 pairs make the schedule's first part 5,120 texts and its rounds 2,048: every 512 pairs
a plan is made from what was known 512 pairs before.

Measured: everything but decoding, which is counted at ``--seconds-a-text``, and the calls of judges, which are
simulated by the truth and counted at ``--dear``. The default of the first is an assumption: 2,500 output tokens a second
of an 8B model on one A100, 200 tokens a text, .08 s. That of the second too: 600 tokens in at $1.25 a million and 225
out at $10, $.003; a cheap call is 16.7 times cheaper (statistics section 3).

A claim is a plant's when at least 80 % of its discordant pairs, or of the surplus that they leave, are on the plant's
prompts. Another is false unless ``--fresh`` pairs on the prompts of its discordant pairs, with the centroids as they were
at the claim, confirm it at p < .001.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from screen import screen
from sides.page import write_page
from sides.scoring import Costs, compare, flat
from sides.table import print_table
from sides.texts import Spec, make

DATA = Path(__file__).parents[1] / "build" / "side_by_side"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, help="prompts a topic, of 100 topics")
    parser.add_argument("--draws", type=int, help="draws a prompt")
    parser.add_argument("--clusters", type=int, help="K of the batch pipeline, and the most that contraflow may have")
    parser.add_argument("--embedder", default="hashed", help="hashed (default), or the name of an encoder")
    parser.add_argument("--seconds-a-text", type=float, default=0.08)
    parser.add_argument("--dear", type=float, default=0.003, help="dollars a call")
    parser.add_argument("--fresh", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="where the HTML page goes")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    spec = Spec.fixed(options.prompts or (4 if options.quick else None), options.draws, options.clusters)
    with tempfile.TemporaryDirectory() as scratch:
        costs = Costs(options.seconds_a_text, options.dear, options.fresh)
        compared = compare(
            spec, make(spec, DATA, options.seed), Path(scratch), options.embedder, costs, options.seed, console
        )
    print_table(compared, console)
    page = write_page(compared, options.page or DATA / "side_by_side.html")
    console.print(f"page: {page}", soft_wrap=True)
    if options.json:
        print(json.dumps(flat(compared)))


if __name__ == "__main__":
    main()
