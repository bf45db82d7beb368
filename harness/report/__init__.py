"""What people and machines read of a run: terminal, result.json, JUnit, HTML."""
