"""Ramps in virtual time, against a chosen truth: pure, with the product's own judgement, from a seed.

``truth`` is what is the case; ``draws`` throws the dice; ``crowd`` says who calls; ``world`` draws the calls of a while
and counts them; ``replay`` moves a ramp through it.
"""
