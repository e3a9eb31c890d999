"""The three ways that ``side_by_side.py`` compares, and the truth that it holds them against."""
