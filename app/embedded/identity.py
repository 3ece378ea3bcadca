"""As whom a server runs, and that it ends with its owner. Never adds a user, never changes a parent's mode."""

import ctypes
import enum
import os
import signal
from pathlib import Path
from typing import Any, Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG: Final = 1
CLONE_NEWUSER: Final = 0x10000000
NOBODY: Final = 65534


class Identity(enum.Enum):
    """OURS: our own user. NAMESPACE: root, which looks like `nobody` to itself. NOBODY: the user `nobody`."""

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
    """The identity for a server that refuses to run as root, as PostgreSQL does."""
    if os.getuid() != 0:
        return Identity.OURS
    return Identity.NAMESPACE if namespaces_allowed() else Identity.NOBODY


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


def enter_namespace() -> None:
    """Enter a user namespace in which root's files belong to `nobody`, and be that. Raises OSError."""
    if LIBC.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} 0 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} 0 1")


def reachable(path: Path) -> bool:
    """Whether the user `nobody` may pass through all parents of `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def give(directory: Path) -> None:
    """Give `directory` and all below it to `nobody`."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
