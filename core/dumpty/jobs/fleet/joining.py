"""How a scheduler is joined, or one of this machine's own is started for a run."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dumpty.errors import DependencyError, OptionError
from dumpty.jobs.work import WorkersLost
from dumpty.process.owned_directory import OwnedDirectory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client

__all__ = ["LOCAL", "joined", "require_private"]

LOCAL = "dask"
"""What stands for workers on this machine, started for a run."""
_PREFIX = "dumpty-fleet-"
_ANSWER_SECONDS = 30
_FIRST_WORKER_SECONDS = 60


@contextlib.contextmanager
def joined(workers: str, parallel: int) -> Iterator[Client]:
    """Within the block, be a client of a scheduler that has workers.

    Args:
        workers: ``dask`` for some on this machine, or the scheduler's address, ``tcp://`` or ``tls://``.
        parallel: how many backups at once, where the workers are started for it.

    Raises:
        OptionError: it is no such address, or what is said there could be read, or said, by others.
        DependencyError: the extra ``fleet`` is not installed.
        WorkersLost: nobody answers there, or no worker is there.
    """
    if workers != LOCAL:
        _require_safe(workers)
    try:
        import distributed
    except ImportError as error:
        raise DependencyError(f"--workers needs dumpty[fleet] ({error}): pip install 'dumpty[fleet]'") from None
    with _silenced(), contextlib.ExitStack() as stack:
        _require_certificates(workers)
        address: Any = stack.enter_context(_local_cluster(parallel)) if workers == LOCAL else workers
        try:
            client = distributed.Client(
                address, name="dumpty", timeout=_ANSWER_SECONDS, set_as_default=False, direct_to_workers=False
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise WorkersLost(f"no scheduler answers at {workers}: {_said(error)}") from None
        stack.callback(_close, client)
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER_SECONDS)
        except TimeoutError:
            raise WorkersLost(
                f"the scheduler at {workers} has no workers: start some, dask worker {workers}, say"
            ) from None
        require_private(client.nthreads())
        yield client


def require_private(addresses: Iterable[str]) -> None:
    """Check that no worker is spoken with over a network without TLS.

    Raises:
        OptionError: one is; the text names it.
    """
    for address in addresses:
        if not _is_private(address):
            raise OptionError(
                f"the worker at {address} is spoken with over a network, without TLS: run scheduler and workers with "
                "--protocol tls and certificates (see dumpty help fleets)"
            )


def _require_safe(address: str) -> None:
    try:
        parts = urlsplit(address)
        complete = parts.scheme in {"tcp", "tls"} and parts.hostname and parts.port
    except ValueError:
        complete = False
    if not complete:
        raise OptionError(f"--workers is {LOCAL}, or a scheduler's address: tls://scheduler.example.org:8786")
    if not _is_private(address):
        raise OptionError(
            f"{address} is off this machine, and there a scheduler needs TLS: write tls://, and see dumpty help fleets "
            "for its certificates"
        )
    if parts.scheme == "tcp" and (others := _listeners(parts.port or 0) - {0, os.geteuid()}):
        # Whoever listens there is trusted with code: what it sends is run here.
        raise OptionError(
            f"{address} may be a process of another user's (uid {min(others)} listens at that port), who could run "
            "anything here"
        )


def _listeners(port: int) -> set[int]:
    """Return the users whose processes listen at a port of this machine, at any of its addresses, as far as is told."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="ascii") as stream:
            for line in stream.readlines()[1:]:
                # proc(5): local address, remote address, state (0A listens), queues, timer, retransmissions, uid
                _, local, _, state, _, _, _, uid, *_ = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    found.add(int(uid))
    return found


def _require_certificates(address: str) -> None:
    """Check that Dask's settings say by which certificate this machine is known, where it needs one."""
    from distributed.security import Security

    if address.startswith("tls:") and Security().get_connection_args("client").get("ssl_context") is None:
        raise OptionError(
            f"{address} asks for certificates, and Dask's settings (distributed.comm.tls) name none: see dumpty help "
            "fleets"
        )


def _is_private(address: str) -> bool:
    """Return whether what is said to an address cannot be read on the way: TLS, or this machine's own interface."""
    parts = urlsplit(address)
    if parts.scheme in {"tls", "inproc"}:
        return True
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _local_cluster(parallel: int) -> Iterator[Any]:
    """Start workers, in processes of their own, that nobody else on this machine can speak with."""
    import dask
    from distributed import LocalCluster
    from distributed.security import Security

    processes = max(n for n in range(1, min(parallel, os.cpu_count() or 1) + 1) if parallel % n == 0)
    OwnedDirectory.sweep(tempfile.gettempdir(), _PREFIX)
    try:
        security = Security.temporary()
    except ImportError as error:
        raise DependencyError(f"--workers needs dumpty[fleet] ({error}): pip install 'dumpty[fleet]'") from None
    with (
        # Dask starts a web server that anybody on the machine could ask, whatever is said: it has no pages.
        dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}),
        OwnedDirectory(tempfile.gettempdir(), _PREFIX) as folder,
        LocalCluster(
            n_workers=processes,
            threads_per_worker=parallel // processes,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
            memory_limit=0,  # a backup streams: what it holds in memory is bounded anyway
            local_directory=folder.path,
            preload=["dumpty.jobs.fleet.local_workers"],
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep what Dask logs from standard error, where it would stand among what is said of jobs; unless debugging."""
    if os.environ.get("DUMPTY_DEBUG", "") not in {"", "0"}:
        yield
        return
    logs = [logging.getLogger(name) for name in ("distributed", "asyncio", "tornado")]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _close(client: Client) -> None:
    # A scheduler that is gone keeps nobody waiting.
    with contextlib.suppress(OSError, RuntimeError, TimeoutError):
        client.close(timeout=5)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
