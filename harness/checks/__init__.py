"""Questions to a bare history, one file each: `drill check --checker NAME`."""
