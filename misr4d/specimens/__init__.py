"""Named specimens, structure files, the corpus for training, ice, potential, downloads."""
