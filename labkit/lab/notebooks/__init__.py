"""A lab's notebook: what is in the file, and the cells of the one that runs."""
