"""The networks that the paper does not have: one thing changed in each."""
