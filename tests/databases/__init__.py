"""Databases small enough to know what they promise, and an oracle that decides by definition."""
