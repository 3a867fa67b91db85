"""The host's access to files, folders and programs, by rules that no cell can bypass."""
