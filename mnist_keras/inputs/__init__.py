"""What comes from outside and may be anything: files, JSON, work without an end."""
