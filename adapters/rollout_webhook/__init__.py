"""Signed webhooks as the originator of a fan-out (extra ``webhook``)."""
