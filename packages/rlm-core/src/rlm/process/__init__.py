"""What the host asks of the system: files, folders and programs, each by rules that no cell can bend."""
