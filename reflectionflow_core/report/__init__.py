"""Reports of a History: a contact sheet, a self-contained HTML page, text and data."""

from .data import as_data
from .page import html_page
from .sheet import contact_sheet
from .words import (
    cost_text,
    counted,
    forecast_text,
    history_text,
    inspection_text,
    score_text,
    settings_text,
    verdict_text,
)

__all__ = [
    "as_data",
    "contact_sheet",
    "cost_text",
    "counted",
    "forecast_text",
    "history_text",
    "html_page",
    "inspection_text",
    "score_text",
    "settings_text",
    "verdict_text",
]
