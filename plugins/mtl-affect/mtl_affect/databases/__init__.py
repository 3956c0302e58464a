"""The affect databases, each in its own layout."""
