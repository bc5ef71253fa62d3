"""What a training minimises: rows of tables in, one loss a row out. Formulas are in training/objectives."""
