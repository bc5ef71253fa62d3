"""The scores of one predictions table: ranks, beyond accuracy, groups of rows. Comparing belongs to statistics."""
