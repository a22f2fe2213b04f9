"""Counters and gauges of the engine, read by a Prometheus collector at scrape."""

from .collector import RolloutCollector
from .exposition import exposition

__all__ = ["RolloutCollector", "exposition"]
