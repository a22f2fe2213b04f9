"""The composition root: the one package that names every adapter."""
