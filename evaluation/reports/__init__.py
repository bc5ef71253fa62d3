"""What people read: one model of a document, and the reports that are made of it."""
