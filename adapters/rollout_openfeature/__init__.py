"""Flags over OpenFeature: the client that is asked, and the toolkit's own provider."""
