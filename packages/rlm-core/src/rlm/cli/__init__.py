"""The command line. Everything here is a front end: it reads arguments, watches a run, prints."""
