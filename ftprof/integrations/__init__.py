"""ftprof in the habits of training libraries, a file each. None is imported before it is asked for."""
