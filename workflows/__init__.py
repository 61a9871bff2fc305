"""Everything that one can launch: one file, one job; and the command line."""
