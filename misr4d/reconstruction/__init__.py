"""Direct ptychography, established methods with tuned settings, refinement."""
