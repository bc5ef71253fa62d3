"""Results of external models: their files are read, their predictions and answers checked and measured, or refused."""
