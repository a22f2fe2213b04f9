"""What another setting would have made of recorded calls: pure, by replaying each of them, never by adding marginals,
because the latencies of one call belong together.

``recorded`` holds what trials say; ``setting`` what is asked; ``replay`` runs one call under it; ``estimate`` makes
figures of many; ``prediction`` puts them together; ``frontier`` looks for the settings that are worth having.
"""
