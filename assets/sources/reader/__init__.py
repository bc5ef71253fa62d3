"""The one way from files of records to raw tables: text, records, typed columns, quarantine, tables.

No publisher's format belongs here; each source gives a mapping.
"""
