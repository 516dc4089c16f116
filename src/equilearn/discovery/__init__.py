"""Discovery: symmetries that were found, in the one form that every finder here returns.

>>> from equilearn.discovery import DiscoveredSymmetry
>>> DiscoveredSymmetry("nothing", "no element stands out", method="read off a matrix").found
False
"""

from equilearn.discovery._found import DiscoveredSymmetry

__all__ = ["DiscoveredSymmetry"]
