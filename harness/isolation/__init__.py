"""Which isolation a database kept: dependencies between transactions, and their cycles."""
