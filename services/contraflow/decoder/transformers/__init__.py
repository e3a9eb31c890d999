"""Models that torch holds in this process: how a declared arm is loaded, and how its texts are drawn."""
