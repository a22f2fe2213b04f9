"""What the gates reach: the error bounds, the delays and the costs that are promised, measured on the product's code.

``make bench-gates`` prints the tables and fails outside the bounds. Every run has a seed of its own, so the figures
are the same each time, on any number of cores; only those of ``test_speed`` are of the machine.
"""
