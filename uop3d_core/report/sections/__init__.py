"""The sections of the report: `Content` to HTML, one module per part of the page."""
