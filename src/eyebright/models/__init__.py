"""Networks: which there are, how they are made, and how a bundle's network is restored."""
