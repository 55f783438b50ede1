"""What counts: one file a method."""
