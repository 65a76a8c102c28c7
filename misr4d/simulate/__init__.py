"""Multislice by abTEM, views by reciprocity, windowed diffraction patterns."""
