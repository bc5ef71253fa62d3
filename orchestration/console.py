"""Print the Dagster log for a person at a terminal: the time and the message."""

import logging

import dagster as dg


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        message = meta.get("orig_message", record.getMessage()) if isinstance(meta, dict) else record.getMessage()
        return f"{self.formatTime(record, '%H:%M:%S')}  {message}"


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="One short line a message.",
)
def console(context: dg.InitLoggerContext) -> logging.Logger:
    """The logger that prints to the terminal."""
    logger = logging.Logger("borderline", level=context.logger_config["log_level"])
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logger.addHandler(handler)
    return logger
