"""The command line. Each module here is a front end: it reads arguments, watches a run and prints."""
