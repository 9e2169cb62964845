"""The data sets by name: where they come from, and the digits that are drawn here."""
