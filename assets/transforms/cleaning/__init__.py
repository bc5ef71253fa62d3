"""A raw log becomes implicit feedback with dense ids: rules, k-core, numbering. Splits and histories come after it."""
