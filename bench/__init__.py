"""Speed and memory, measured, never tested: `python -m bench` prints figures and bounds."""
