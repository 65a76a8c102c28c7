"""Optics, geometry of detector and scan, dose, datacubes, tiles, keys of caches, workers."""
