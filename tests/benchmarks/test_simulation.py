"""Claims of no plant: whether fresh pairs confirm them."""

from contraflow.events import Claim
from worlds.mixture import MixtureWorld, Plant
from worlds.simulation import NOTHING, Simulation


def held_against_fresh_pairs(plant: bool) -> Simulation:
    """A run whose first cluster with the plant's texts is claimed as if none of its pairs had shown a plant."""
    world = MixtureWorld(3, prompts=200, topics=10, plants=[Plant(share=0.2)] if plant else [])
    run = Simulation(world, "uniform", 3, 640)
    for _ in run:
        pass
    seen = {key: shown.total() for key, shown in run._shown.items() if key[2] > 0 and _alive(run, key[0])}
    cluster, arm, direction = max(seen, key=lambda key: run._shown[key][0] if plant else seen[key])
    run._shown[cluster, arm, direction].update({NOTHING: 1000})
    run.judged.clear()
    run.leaks = 0
    run._judge(
        Claim(cluster_id=cluster, arm=arm, claimed_at=640, n=10, s=10, log_e=5.0, direction=direction, warm=False)
    )
    return run


def _alive(run: Simulation, cluster: int) -> bool:
    return any(life.cluster_id == cluster for life in run.clusterer.lives.values())


def test_a_claim_of_no_plant_that_fresh_pairs_confirm_is_a_leak() -> None:
    run = held_against_fresh_pairs(plant=True)
    assert (run.leaks, run.false_claims) == (1, 0)


def test_a_claim_that_fresh_pairs_do_not_confirm_is_false() -> None:
    run = held_against_fresh_pairs(plant=False)
    assert (run.leaks, run.false_claims) == (0, 1)
