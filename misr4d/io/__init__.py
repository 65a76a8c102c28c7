"""A recorded scan and its quantities: readers of files, and our own file."""
