"""Networks, losses, training, and the weights that come with the package."""
