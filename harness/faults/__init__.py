"""What a scenario does to hurt a cluster: one file for what it hurts, each with its undo."""
