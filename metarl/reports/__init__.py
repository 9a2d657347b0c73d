"""Results for people: tables, plots, films."""
