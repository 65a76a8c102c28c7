"""What a scan does not say: disc, descan, rotation, drift, defocus, bad pixels."""
