"""Example: one event, three messages. A signed webhook is acknowledged at once and fanned out after, to senders of
e-mail, SMS and push that never send a thing twice.
"""
