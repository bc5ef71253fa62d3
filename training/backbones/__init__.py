"""The language model under a policy, through `transformers` unchanged: from scratch, or a base model with adapters."""
