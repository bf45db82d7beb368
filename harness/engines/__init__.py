"""Second opinions: other programs that judge the same files."""
