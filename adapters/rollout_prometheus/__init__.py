"""Counters and gauges of the engine, read by a Prometheus collector at scrape."""
