"""Attempts to escape from the sandbox, or to reach what it protects.

Each is the code of a cell. It succeeds if it sets `got` to a true value; an exception or a false value means that it
was denied. The code uses these placeholders: SECRET, the provider's key; HOST, the id of rlm's process; PLANTED, a file
with a secret in the user's home; RECORDING, a file there with turns of a model; TMP, a folder of another program below
/tmp; PORT, a server of the machine; SPACES, the namespaces of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breakout:
    """`bare`: without a sandbox the attempt succeeds, and does no harm.

    The tests check this, so no denial is meaningless.
    """

    name: str
    code: str
    bare: bool = True


_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_NUMBERS = "import platform\nARM = platform.machine() == 'aarch64'\n"

_MAGIC_LINKS = """import os, glob
own = {line.split()[0] for line in open('/proc/self/mountinfo')}
got = []
for path in [p for kind in ('exe', 'cwd', 'root', 'fd/*', 'map_files/*', 'task/*/exe', 'task/*/fd/*') for p in glob.glob('/proc/[0-9]*/' + kind)]:
    try:
        there, file = os.readlink(path), os.open(path, os.O_PATH)
        about = dict(line.split(':') for line in open(f'/proc/self/fdinfo/{file}'))
        os.close(file)
        if about['mnt_id'].strip() not in own and there.startswith('/') and not there.startswith('/memfd:'):
            got.append((path, there))
    except OSError: pass
if got: print(got)"""

_EXECUTABLES = """import os, glob, stat
got = []
for path in glob.glob('/proc/[0-9]*/exe'):
    try:
        file = os.open(path, os.O_RDONLY)
        os.fchmod(file, stat.S_IMODE(os.fstat(file).st_mode))
        if not os.readlink(path).startswith('/memfd:'): got.append(path)
    except OSError: pass"""

_TERMINAL = """import errno, fcntl, os, pty
child = pty.fork()[0]  # only one's own terminal takes typing, and that of newer systems does not: but it has seen it then
if child == 0:
    try: fcntl.ioctl(0, {request}, b'x')
    except OSError as error: os._exit(error.errno)
    os._exit(0)
got = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != errno.EPERM"""

_SEALED = """import os, glob
got = []
for path in glob.glob('/proc/[0-9]*/exe'):
    try:
        if not os.readlink(path).startswith('/memfd:'): continue  # of the machine: that is tried without harm, above
    except OSError: continue
    for how in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try: got.append(os.write(os.open(path, how), b''))
        except OSError: pass
    try: got.append(os.chmod(path, 0) is None)
    except OSError: pass
"""

# For the kernel's filter: with invalid arguments, a call that is not refused fails with another error.
_SYSTEM_CALLS = f"""{_LIBC}{_NUMBERS}import errno
calls = {{
    'mount': (165, 40), 'umount2': (166, 39), 'pivot_root': (155, 41), 'open_tree': (428, 428), 'move_mount': (429, 429),
    'fsopen': (430, 430), 'fsconfig': (431, 431), 'fsmount': (432, 432), 'fspick': (433, 433), 'mount_setattr': (442, 442),
    'setns': (308, 268), 'add_key': (248, 217), 'request_key': (249, 218), 'keyctl': (250, 219), 'bpf': (321, 280),
    'userfaultfd': (323, 282), 'perf_event_open': (298, 241), 'io_uring_setup': (425, 425), 'io_uring_enter': (426, 426),
    'io_uring_register': (427, 427), 'open_by_handle_at': (304, 265), 'name_to_handle_at': (303, 264), 'clone3': (435, 435),
    'quotactl': (179, 60), 'quotactl_fd': (443, 443), 'acct': (163, 89), 'swapon': (167, 224), 'init_module': (175, 105),
    'finit_module': (313, 273), 'kexec_load': (246, 104), 'kexec_file_load': (320, 294), 'openat2': (437, 437),
    'statmount': (457, 457), 'listmount': (458, 458), 'fanotify_init': (300, 262), 'syslog': (103, 116), 'open_tree_attr': (467, 467),
}}
got = []
for name, numbers in calls.items():
    ctypes.set_errno(0)
    if libc.syscall(numbers[ARM], *[ctypes.c_long(-1)] * 6) != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        got.append(name)
if got: print(got)"""

_SET_ID = f"""{_LIBC}{_NUMBERS}import stat, struct, subprocess, shutil
def call(x86, arm, *arguments): libc.syscall(arm if ARM else x86, *arguments)
def plain(path): open(path, 'w').close()
def with_file(act):
    def do(path): plain(path); act(path)
    return do
def chmod_of_i386(path):
    if ARM: return
    import mmap
    memory = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[256:257 + len(path)] = path.encode() + b'\\0'
    memory[:20] = b'\\x53\\xb8' + struct.pack('<I', 15) + b'\\xbb' + struct.pack('<I', address + 256) + b'\\xb9' + struct.pack('<I', 0o4755) + b'\\xcd\\x80\\x5b\\xc3'
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
ways = {{
    'chmod': with_file(lambda p: os.chmod(p, 0o4755)),
    'chmod, group': with_file(lambda p: os.chmod(p, 0o2755)),
    'chmod, high bits': with_file(lambda p: call(90, 53, p.encode(), ctypes.c_long(0o4755 | 1 << 40)) if not ARM else None),
    'fchmod': with_file(lambda p: os.fchmod(os.open(p, os.O_RDONLY), 0o6755)),
    'fchmodat': with_file(lambda p: call(268, 53, -100, p.encode(), 0o4755)),
    'fchmodat2': with_file(lambda p: call(452, 452, -100, p.encode(), 0o4755, 0)),
    'through /proc': with_file(lambda p: os.chmod(f'/proc/self/fd/{{os.open(p, os.O_RDONLY)}}', 0o4755)),
    'open': lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o4755)),
    'unnamed file': lambda p: os.link(f"/proc/self/fd/{{os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o4755)}}", p, follow_symlinks=True),
    'creat': lambda p: None if ARM else call(85, -1, p.encode(), 0o4755),
    'open itself': lambda p: None if ARM else call(2, -1, p.encode(), os.O_CREAT | os.O_WRONLY, 0o4755),
    'openat2': lambda p: call(437, 437, -100, p.encode(), struct.pack('QQQ', os.O_CREAT | os.O_WRONLY, 0o4755, 0), 24),
    'mknod': lambda p: os.mknod(p, stat.S_IFREG | 0o4755),
    'i386': with_file(chmod_of_i386),
    'x32': with_file(lambda p: None if ARM else call(90 | 1 << 30, -1, p.encode(), 0o4755)),
    'install': lambda p: subprocess.run(['install', '-m', '4755', '/bin/true', p]),
    'copy': lambda p: subprocess.run(['cp', '--preserve=mode', shutil.which('su') or '/bin/su', p]),
}}
os.umask(0)
got = []
for number, (name, way) in enumerate(ways.items()):
    try: way(f'set{{number}}')
    except OSError: pass
    if os.path.exists(f'set{{number}}'):
        if os.stat(f'set{{number}}').st_mode & 0o6000: got.append(name)
        os.unlink(f'set{{number}}')
os.umask(0o22)
if got: print(got)"""

_CLONE = f"""{_LIBC}{_NUMBERS}import signal
got = []
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    for high in (0, 1 << 33):
        pid = libc.syscall(220 if ARM else 56, ctypes.c_long(flag | 0x10000000 | high | signal.SIGCHLD), 0, 0, 0, 0)
        if pid == 0: os._exit(0)
        if pid > 0: os.waitpid(pid, 0); got.append(hex(flag))"""

BREAKOUTS = (
    Breakout("read a file of the user's home", "got = open(PLANTED).read()"),
    Breakout("find the user's home by way of the first process", "got = open('/proc/1/root' + PLANTED).read()", bare=False),
    Breakout("find it by way of our own process", "got = open('/proc/self/root' + PLANTED).read()"),
    Breakout("find it by way of its working directory", "import os\ngot = open('/proc/self/cwd/' + os.path.relpath(PLANTED)).read()"),
    Breakout("find it through a link", "import os\nos.symlink(PLANTED, 'link')\ngot = open('link').read()"),
    Breakout("read what another program keeps in /tmp", "import os\ngot = os.listdir(TMP)"),
    Breakout("see the host's process", "import os\nos.kill(HOST, 0)\ngot = True"),
    Breakout("see other processes of the user", "import os\ngot = HOST in {int(p) for p in os.listdir('/proc') if p.isdigit()}"),
    Breakout(
        "find the key in an environment",
        "import glob\ngot = ''\nfor path in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: got += path * (SECRET.encode() in open(path, 'rb').read())\n    except OSError: pass",
        bare=False,  # without a sandbox root sees it, an ordinary user does not
    ),
    Breakout(
        "find the key on a command line",
        "import glob\ngot = ''\nfor path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: got += path * (SECRET.encode() in open(path, 'rb').read())\n    except OSError: pass",
        bare=False,  # it is never on a command line
    ),
    Breakout(
        "find the key in a file that can be reached",
        "import os\nbase = os.path.dirname(os.environ['RLM_BROKER'].split(':')[0])\n"
        "got = !grep -rlsF {SECRET} {base} . ~ /run /var/tmp /etc\n",
    ),
    Breakout("find another key in our environment", "import os\ngot = os.environ['GITHUB_TOKEN']"),
    Breakout("find the user's agent for keys", "import os\ngot = os.environ['SSH_AUTH_SOCK']"),
    Breakout("talk to a socket with a path", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(TMP + '/socket')\ngot = True"),
    Breakout("talk to an abstract socket", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + TMP)\ngot = True"),
    Breakout("talk to a server of the machine", "import socket\ngot = socket.create_connection(('127.0.0.1', PORT), 3)"),
    Breakout("send a datagram out", "import socket\ngot = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", bare=False),
    Breakout("look up a name", "import socket\ngot = socket.getaddrinfo('example.com', 80)", bare=False),
    Breakout("open a raw socket", "import socket\ngot = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", bare=False),
    Breakout("write to the system", "got = open('/etc/rlm-was-here', 'w')", bare=False),
    Breakout("write to our own code", "import rlm\ngot = open(rlm.__file__, 'a')"),
    Breakout("link a file of the system into the project", "import os\nos.link('/etc/passwd', 'passwd')\ngot = True", bare=False),
    Breakout("write into the hooks", "got = open('.git/hooks/pre-commit', 'w').write('x')"),
    Breakout("write into git's configuration", "got = open('.git/config', 'a').write('\\n')"),
    Breakout("replace git's configuration", "import os\nopen('new', 'w').close()\nos.replace('new', '.git/config')\ngot = True", bare=False),
    Breakout("move the hooks away", "import os\nos.rename('.git/hooks', '.git/old')\ngot = os.rename('.git/old', '.git/hooks') is None"),
    Breakout("move the repository away", "import os\nos.rename('.git', 'old')\ngot = os.rename('old', '.git') is None"),
    Breakout("make an .envrc", "import os\nopen('.envrc', 'w').close()\ngot = os.unlink('.envrc') is None"),
    Breakout("make settings of the editor", "import os\nos.makedirs('.vscode/x')\ngot = os.removedirs('.vscode/x') is None"),
    Breakout("write into the sessions", "import os\nos.mkdir('.rlm/sessions/x')\ngot = os.rmdir('.rlm/sessions/x') is None"),
    Breakout("change a journal", "import glob\ngot = [open(path, 'a') for path in glob.glob('.rlm/sessions/*/messages.jsonl')]"),
    Breakout("move the sessions away", "import os\nos.rename('.rlm', 'old')\ngot = os.rename('old', '.rlm') is None"),
    Breakout("remount the system writable", f"{_LIBC}got = libc.mount(None, b'/', None, 32 | 4096, None) == 0", bare=False),
    Breakout("remount the hooks writable", f"{_LIBC}got = libc.mount(None, b'.git/hooks', None, 32 | 4096, None) == 0", bare=False),
    Breakout("take away what covers the home", f"{_LIBC}got = libc.umount2(os.path.expanduser('~').encode(), 2) == 0", bare=False),
    Breakout(
        "remount with the power of a user namespace of our own",
        "import subprocess\ngot = subprocess.run(['unshare', '-Urm', 'sh', '-c', "
        "'mount -o remount,bind,rw /usr && touch /usr/rlm-was-here'], capture_output=True).returncode == 0",
        bare=False,
    ),
    Breakout(
        "uncover the home in a user namespace of our own",
        "import subprocess, os\nhome = os.path.expanduser('~')\ngot = subprocess.run(['unshare', '-Urm', 'sh', '-c', "
        "f'umount -l {home}; cat {PLANTED}'], capture_output=True).returncode == 0",
        bare=False,  # nothing covers the home without a sandbox
    ),
    Breakout("change the root", "import os\nos.chroot('/proc/1/root')\ngot = True", bare=False),
    Breakout(
        "open files by number", f"{_LIBC}got = libc.open_by_handle_at(-100, b'\\8\\0\\0\\0\\1\\0\\0\\0' + bytes(16), 0) >= 0", bare=False
    ),
    Breakout("join the host's namespaces", f"{_LIBC}got = libc.setns(os.open('/proc/1/ns/user', 0), 0) == 0", bare=False),
    Breakout("set what handles core dumps", "got = open('/proc/sys/kernel/core_pattern', 'w')", bare=False),
    Breakout("press a key of the kernel", "got = open('/proc/sysrq-trigger', 'w')", bare=False),
    Breakout("set the machine's name", "import socket\nsocket.sethostname('x')\ngot = True", bare=False),
    Breakout("make a device", "import os, stat\nos.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(8, 0))\ngot = True", bare=False),
    Breakout("open a device of the machine", "import glob\ngot = [open(p) for p in glob.glob('/dev/[svnx]d*') + glob.glob('/dev/*mem') + glob.glob('/dev/loop*')]", bare=False),
    Breakout("change a control group", "got = open('/sys/fs/cgroup/cgroup.procs', 'w')", bare=False),
    Breakout("become another user", "import os\nos.setuid(os.getuid() + 1)\ngot = True", bare=False),
    Breakout("get power from a program that has it", "got = not any(line in open('/proc/self/status').read() for line in ['NoNewPrivs:\\t1'])"),
    Breakout("keep a capability", "got = any(int(line.split()[1], 16) for line in open('/proc/self/status') if line.startswith('Cap'))", bare=False),
    Breakout("type into the user's terminal", "got = open('/dev/tty', 'w')", bare=False),
    Breakout(
        "follow a descriptor out",
        "import os, stat\ngot = [f for f in os.listdir('/proc/self/fd') if f != '3' and os.path.isdir(f'/proc/self/fd/{f}') "
        "and not os.path.realpath(f'/proc/self/fd/{f}').startswith('/proc')]",
        bare=False,  # without a sandbox there are none
    ),
    Breakout("find a mount of the host behind a magic link", _MAGIC_LINKS, bare=False),  # outside all are the host's
    Breakout("find a namespace of the host", "import os, glob\ngot = []\nfor path in glob.glob('/proc/[0-9]*/ns/*'):\n"
        "    try: got += [path] * (os.readlink(path) in SPACES)\n    except OSError: pass"),
    Breakout("change the mode of a program that runs", _EXECUTABLES, bare=False),  # root can
    Breakout("change a program that is sealed", _SEALED, bare=False),
    Breakout("change the mode of a device", "import os, glob\ngot = []\nfor path in set(glob.glob('/dev/*') + ['/proc/self/fd/0']) - {'/dev/ptmx'}:\n"
        "    try: got += [path] * (os.path.exists(path) and os.stat(path).st_rdev and not os.chmod(path, os.stat(path).st_mode & 0o777))\n"
        "    except OSError: pass", bare=False),  # root can
    Breakout("make a file among the devices", "got = open('/dev/rlm-was-here', 'w')", bare=False),
    Breakout("fill the shared memory", "import os\ngot = []\ntry:\n"
        "    for n in range(30): got.append(os.posix_fallocate(os.open(f'/dev/shm/{n}', os.O_CREAT | os.O_RDWR), 0, 40_000_000))\n"
        "finally:\n    for n in range(30): os.path.exists(f'/dev/shm/{n}') and os.unlink(f'/dev/shm/{n}')", bare=False),
    Breakout("use the user's keys", f"{_LIBC}{_NUMBERS}got = libc.syscall(219 if ARM else 250, 0, -4, 1) >= 0 or libc.syscall(219 if ARM else 250, 0, -3, 1) >= 0", bare=False),
    Breakout("read what the machine's log says", f"{_LIBC}got = libc.klogctl(10, None, 0) >= 0", bare=False),
    Breakout("open a socket of another family", "import socket\ngot = []\nfor family in set(range(64)) - {1, 2, 10, 16}:\n"
        "    for kind in (1, 2, 3, 5):\n        try: got.append(socket.socket(family, kind))\n        except OSError: pass", bare=False),
    Breakout("open a socket of a rare protocol", "import socket\ngot = []\nfor family, protocols in ((2, (33, 132, 136, 262)), (10, (33, 115, 132, 262)), (16, range(1, 23))):\n"
        "    for protocol in protocols:\n        for kind in (1, 2, 3, 5, 6):\n            try: got.append(socket.socket(family, kind, protocol))\n            except OSError: pass", bare=False),
    Breakout("make a system call that is not needed", _SYSTEM_CALLS, bare=False),
    Breakout("make namespaces of our own", _CLONE, bare=False),
    Breakout("make a user namespace with a program", "import subprocess\ngot = subprocess.run(['unshare', '-U', 'true'], capture_output=True).returncode == 0", bare=False),
    Breakout("unshare the time", f"{_LIBC}got = libc.unshare(0x80) == 0", bare=False),
    Breakout("leave a program with the user's rights", _SET_ID),
    Breakout("leave a program with capabilities", "import os\nopen('able', 'w').close()\n"
        "os.setxattr('able', 'security.capability', bytes([1, 0, 0, 2, 0, 0, 32, 0] + [0] * 12))\ngot = True", bare=False),
    Breakout("make a whiteout device", "import os, stat\nos.mknod('white', stat.S_IFCHR, 0)\ngot = os.unlink('white') is None"),
    Breakout("load a line discipline", "import pty, fcntl\ngot = fcntl.ioctl(pty.openpty()[1], 0x5423, bytes(4)) is not None"),
    Breakout("load one with bits that the kernel ignores", f"{_LIBC}{_NUMBERS}import pty\n"
        "got = libc.syscall(29 if ARM else 16, pty.openpty()[1], ctypes.c_long(0x5423 | 1 << 32), bytes(4)) == 0"),
    Breakout("type into a terminal", _TERMINAL.format(request=0x5412)),
    Breakout("paste into a terminal", _TERMINAL.format(request=0x541C)),
    Breakout("have data executed", f"{_LIBC}got = libc.personality(0x0400000) >= 0 and libc.personality(0) >= 0"),
    Breakout("trace the first process", f"{_LIBC}got = libc.ptrace(16, 1, None, None) == 0 and open('/proc/1/status').read().count('Seccomp:\t0')", bare=False),
    Breakout("find a process without the filter", "import glob\ngot = []\nfor path in glob.glob('/proc/[0-9]*/status'):\n"
        "    try: got += [path] * ('Seccomp:\\t2' not in open(path).read())\n    except OSError: pass"),
    Breakout("read passwords", "got = open('/etc/shadow').read()", bare=False),
    Breakout("take all memory", "got = bytearray(1_200_000_000)"),
    Breakout("take all memory, shared", "import mmap\ngot = mmap.mmap(-1, 1_200_000_000)"),
    Breakout("take it with a length of more than 32 bits", "import mmap\ngot = mmap.mmap(-1, 5 << 32)"),
    Breakout("take it as System V memory", f"{_LIBC}number = libc.shmget(0, ctypes.c_size_t(1_200_000_000), 0o1600)\ngot = number >= 0 and libc.shmctl(number, 0, None) == 0"),
    Breakout("take it as a file in memory", "import os\ngot = os.truncate(os.memfd_create('m'), 60_000_000) is None"),
    Breakout("fill the disk with one file", "with open('big', 'wb') as file:\n    got = file.truncate(60_000_000)"),
    Breakout("choose a recording for the host to read", "got = (await rlm.run('x', model=f'replay:{RECORDING}')).answer == 'recorded'", bare=False),  # refused outside too
    Breakout(
        "have the host read a file as a child's context",
        "import os, asyncio\nfrom rlm.broker.client import ask\nfrom rlm.broker.protocol import ContextFile, RunRequest\n"
        "path, _, token = os.environ['RLM_BROKER'].rpartition(':')\nos.symlink(PLANTED, os.path.dirname(path) + '/gift')\n"
        "got = (await ask(path, RunRequest(token, 'x', {}, ContextFile('gift', 'file', 'a gift')))).answer",
        bare=False,
    ),
    Breakout("switch the sandbox off for a child", "import os, asyncio\nfrom rlm.broker.client import ask\nfrom rlm.broker.protocol import ContextFile, RunRequest\n"
        "path, _, token = os.environ['RLM_BROKER'].rpartition(':')\ngot = (await ask(path, RunRequest(token, 'x', {'sandbox': 'off'}))).answer", bare=False),
)  # fmt: skip
