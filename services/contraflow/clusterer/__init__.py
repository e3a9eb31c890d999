"""The clusterer: online clusters, and in each of them the evidence that the arms differ. numpy only."""
