"""The compute of a fine-tune before any GPU is rented: one forward and backward pass without weights or data."""
