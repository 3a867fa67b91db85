"""The one package that opens files and folders for the host. `walk` is how; the others say what for.

A cell can change every name in a folder that it can write: it can put a link, a pipe or a device where a file was. So
the host opens files by these rules, and nowhere else:

1. No link is followed. A path is walked one component at a time, from the root or from a folder that is held open
   (`dir_fd`), each step from the descriptor of the one before.
2. What is opened is a plain file or a folder. A link, a pipe, a socket or a device in its place is an `UnsafePath`. It
   is not opened first, so nothing waits for a pipe and no device notices. Opening never blocks.
3. A file with several names (hard links) is not written to, and not read if it is another user's.
4. A new file is for its owner alone and never one that exists. An existing file is replaced whole: a new one is written
   beside it and takes its name. Both happen in a folder that is held open.
5. Reading ends where the file ended when it was opened, so a file that grows meanwhile does not keep us.
6. A path that the user names may have links in it. `resolve` follows them once, before the first cell runs; what is
   used later is the result, by rule 1.
7. In a project, links to files of the same project are common (CLAUDE.md -> AGENTS.md). `read_beneath` follows them as
   long as they stay in the folder.

All failures are `OSError`s that name the path. Standard library only, and one module of rlm-skill: the kernel's side
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
    replace_with,
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
    "replace_with",
    "resolve",
    "socket_place",
    "write_all",
    "write_new",
]
