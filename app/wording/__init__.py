"""Every text of the page, in English, one module a tab."""
