"""Load that runs behind all steps and records every call."""
