"""Lets the image's modules be imported by their own names, as they import one another.

In the container they lie in one folder, which is where Python looks first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "image" / "spilo"))
