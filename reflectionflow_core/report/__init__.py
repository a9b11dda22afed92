"""A History to look at: a contact sheet in one picture, a page that opens anywhere, and data."""

from .data import as_data
from .page import html_page
from .sheet import contact_sheet
from .words import cost_text, counted, inspection_text, settings_text, story, verdict_text

__all__ = [
    "as_data",
    "contact_sheet",
    "cost_text",
    "counted",
    "html_page",
    "inspection_text",
    "settings_text",
    "story",
    "verdict_text",
]
