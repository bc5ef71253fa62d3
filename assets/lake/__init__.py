"""How any asset comes into being: declaration, publication, validation, lineage. No asset is defined here."""
