"""Colours that colour-blind readers can tell apart (Okabe & Ito), used alike in every chart."""

__all__ = ["ARMS", "CLAIMED", "FAINT", "GRID", "INK"]

ARMS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CLAIMED = "#C03D3E"
FAINT = "rgba(90,100,115,0.28)"
GRID = "rgba(90,100,115,0.16)"
INK = "#26303c"
