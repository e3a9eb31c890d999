"""The embedded log: topics, groups and transactions in one SQLite file, shared by several processes of one machine."""

from contraflow.log.embedded.log import EmbeddedLog, Share

__all__ = ["EmbeddedLog", "Share"]
