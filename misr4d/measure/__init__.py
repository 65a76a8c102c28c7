"""Measures of images and rings, the audit of invention, one summary of draws."""
