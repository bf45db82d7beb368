"""One suite for all drivers. A package, so that its cluster goes when its tests are through."""
