"""Speed and memory, measured, never tested: `python -m bench` prints figures beside their bounds."""
