"""Distributed search: four indexes that hold each document twice, so that the answers of any three are enough."""
