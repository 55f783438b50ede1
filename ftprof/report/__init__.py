"""How a record is shown to a person or a program."""
