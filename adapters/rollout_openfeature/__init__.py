"""Flags over OpenFeature: the client that is asked, and the toolkit's own provider."""

from .following import follow
from .provider import ArmProvider, RolloutProvider
from .source import DOMAIN, OpenFeatureFlags

__all__ = ["DOMAIN", "ArmProvider", "OpenFeatureFlags", "RolloutProvider", "follow"]
