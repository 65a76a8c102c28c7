"""A scan of the user's: made ready, reconstructed, judged, written."""
