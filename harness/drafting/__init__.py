"""A plan under way: from the plain data of one cell to plug-ins, and every mistake in it."""
