"""Properties of a history: one file an expectation, pure, no driver, no clock."""
