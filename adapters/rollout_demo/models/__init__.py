"""Example: a chain of language models. A cheap one first; a dear one where the cheap one is not sure and the budget of
the call still covers it.
"""
