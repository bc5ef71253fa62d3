"""The pure functions behind the assets: tables in, tables out. No dagster, no file, no clock, no global state."""
