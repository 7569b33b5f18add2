"""The report of a study: statistics, tables, figures and one page."""
