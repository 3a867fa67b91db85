"""The one package that opens files and folders for the host. `walk` has the rules, the other modules use them.

A cell can change every name in a folder that it can write: it can replace a file by a link, a pipe or a device. So the
host opens files only here, by these rules:

1. No link is followed. A path is walked one component at a time, each step from the descriptor of the one before. The
   walk starts at the root or at a folder that is held open (`dir_fd`).
2. Only plain files and folders are opened. A link, a pipe, a socket or a device in their place is an `UnsafePath`. It
   is not opened first, so nothing waits for a pipe and no device reacts. Opening never blocks.
3. A file with several names (hard links) is not written to, and not read if it is another user's.
4. A new file is for its owner only, and its name must not exist yet. An existing file is replaced whole: a new one is
   written beside it and takes its name. Both happen in a folder that is held open.
5. Reading stops at the size that the file had when it was opened, so a growing file does not delay us.
6. A path that the user names may have links in it. `resolve` follows them once, before the first cell runs; later
   only the result is used, by rule 1.
7. In a project, links to files of the same project are common (CLAUDE.md -> AGENTS.md). `read_beneath` follows them as
   long as they stay in the folder.

All failures are `OSError`s that name the path. Standard library only, and one module of rlm-skill: code in the kernel
uses it too.
"""

from rlm.process.files.folders import (
    change_to,
    enter,
    folder_for_child,
    make_folder,
    open_folder,
    opened_folder,
    remove,
    remove_tree,
    resolve,
)
from rlm.process.files.reading import open_any, open_file, read, read_beneath, read_in, socket_place
from rlm.process.files.replacement import Replacement
from rlm.process.files.walk import UnsafePath, link_text
from rlm.process.files.writing import (
    copy,
    copy_hashed,
    copy_tree,
    copy_working_tree,
    create,
    create_pipe,
    replace,
    write_all,
    write_new,
)

__all__ = [
    "Replacement",
    "UnsafePath",
    "change_to",
    "copy",
    "copy_hashed",
    "copy_tree",
    "copy_working_tree",
    "create",
    "create_pipe",
    "enter",
    "folder_for_child",
    "link_text",
    "make_folder",
    "open_any",
    "open_file",
    "open_folder",
    "opened_folder",
    "read",
    "read_beneath",
    "read_in",
    "remove",
    "remove_tree",
    "replace",
    "resolve",
    "socket_place",
    "write_all",
    "write_new",
]
