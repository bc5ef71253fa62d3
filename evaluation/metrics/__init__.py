"""What one predictions table scores: ranks, beyond accuracy, groups, and predictions of foreign models."""
