"""Watchers: what each node accepts and says of itself, and what the DCS holds."""
