"""A History to look at: a contact sheet in one picture, and a page that opens anywhere."""

from .page import html_page
from .sheet import contact_sheet
from .words import cost_text, settings_text

__all__ = ["contact_sheet", "cost_text", "html_page", "settings_text"]
