"""Measurements of the hot paths, each beside a peer in the same run: read the ratios, not the absolute figures."""
