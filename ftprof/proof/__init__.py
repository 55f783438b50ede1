"""What makes a record hold before others: a signed statement about it, and the check of all that it rests on."""
