"""Whether each object behaved as if one operation at a time had been applied to it."""
