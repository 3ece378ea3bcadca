"""As whom a server runs, and that it ends with its owner. Never adds a user, never changes a parent's mode."""

import ctypes
import enum
import os
import pwd
import signal
from pathlib import Path
from typing import Any, Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG: Final = 1
CLONE_NEWUSER: Final = 0x10000000
NOBODY: Final = 65534


class Identity(enum.Enum):
    """OURS: our own user. NAMESPACE: the same, which looks like `nobody` to itself. NOBODY: the user `nobody`."""

    OURS = "ours"
    NAMESPACE = "namespace"
    NOBODY = "nobody"

    def arguments(self, end_signal: signal.Signals) -> dict[str, Any]:
        """Arguments for a subprocess of this identity that gets `end_signal` when the thread that forked it ends."""
        owner = os.getpid()

        def become() -> None:
            if self is Identity.NAMESPACE:
                enter_namespace()
            # After the change of identity, which clears it.
            LIBC.prctl(PR_SET_PDEATHSIG, end_signal)
            if os.getppid() != owner:
                os.kill(os.getpid(), end_signal)

        arguments: dict[str, Any] = {"preexec_fn": become}
        if self is Identity.NOBODY:
            arguments |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        return arguments


def not_root() -> Identity:
    """The identity for a server that refuses to run as root or as a user without a name, as PostgreSQL does."""
    if os.getuid() != 0 and _has_name(os.getuid()):
        return Identity.OURS
    if namespaces_allowed():
        return Identity.NAMESPACE
    return Identity.NOBODY if os.getuid() == 0 else Identity.OURS


def _has_name(uid: int) -> bool:
    """Container platforms run images as a user that /etc/passwd does not know."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def namespaces_allowed() -> bool:
    """Whether this process may make a user namespace; many container runtimes forbid it."""
    child = os.fork()
    if child == 0:
        try:
            enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def enter_namespace(uid: int = NOBODY) -> None:
    """Enter a user namespace in which our files belong to `uid`, and be that user. Raises OSError."""
    us, group = os.getuid(), os.getgid()
    if LIBC.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {us} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {group} 1")


def reachable(path: Path) -> bool:
    """Whether the user `nobody` may pass through all parents of `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def give(directory: Path) -> None:
    """Give `directory` and all below it to `nobody`."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
