"""What a training minimises: which items the policy scores for each row, and the loss of their log-probabilities."""
