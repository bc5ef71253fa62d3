"""One forward pass of a policy: windows, prefix trees, attention, log-probabilities, decoding. No optimizer."""
