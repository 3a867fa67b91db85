"""Attempts to get out of the sandbox, or to get at what it keeps out.

Each is the code of a cell. It has done what it wants if it sets `got` to something true; an exception or something
false means that it was denied. In the code stand: SECRET, the provider's key; HOST, the id of rlm's process; PLANTED,
a file with a secret in the user's home; RECORDING, turns of a model there; TMP, a folder of another program below
/tmp; PORT, a server of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breakout:
    """`bare`: without a sandbox it succeeds, and harms nothing; the tests see to that, so that none is denied for nothing."""

    name: str
    code: str
    bare: bool = True


_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

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
        bare=False,  # root sees it there, an ordinary user does not
    ),
    Breakout(
        "find the key on a command line",
        "import glob\ngot = ''\nfor path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: got += path * (SECRET.encode() in open(path, 'rb').read())\n    except OSError: pass",
        bare=False,  # it is never there
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
        bare=False,  # nothing covers it there
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
        bare=False,  # there are none at all
    ),
    Breakout("read passwords", "got = open('/etc/shadow').read()", bare=False),
    Breakout("take all memory", "got = bytearray(1_200_000_000)"),
    Breakout("fill the disk with one file", "with open('big', 'wb') as file:\n    got = file.truncate(60_000_000)"),
    Breakout("choose a recording for the host to read", "got = (await rlm.run('x', model=f'replay:{RECORDING}')).answer == 'recorded'"),
    Breakout(
        "have the host read a file as a child's context",
        "import os, asyncio\nfrom rlm.broker.client import ask\nfrom rlm.broker.wire import Request\n"
        "path, _, token = os.environ['RLM_BROKER'].rpartition(':')\nos.symlink(PLANTED, os.path.dirname(path) + '/gift')\n"
        "got = (await ask(path, Request(token, 'x', {}, 'gift', 'file', 'a gift'))).answer",
        bare=False,
    ),
    Breakout("switch the sandbox off for a child", "import os, asyncio\nfrom rlm.broker.client import ask\nfrom rlm.broker.wire import Request\n"
        "path, _, token = os.environ['RLM_BROKER'].rpartition(':')\ngot = (await ask(path, Request(token, 'x', {'sandbox': 'off'}))).answer", bare=False),
)  # fmt: skip
