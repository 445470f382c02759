"""dumpty and a bucket: large objects beside obstore's own put and get of the same bytes, and what is 30 ms away.

``bucket.py ACTION LIBRARY URL MEGABYTES`` does one of them in a process of its own, and prints seconds and peak memory.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).absolute().parent.parent
BLOCK = 1 << 18
NAME = "bench/object.bin"
TARGET = 1.25
SEALED_TARGET = 1.15
MEMORY_MB = 150
LATENCY_SECONDS = 0.03


def measured(size_megabytes: int, rounds: int, backups: int) -> Iterator[tuple[str, float, float | None]]:
    """Yield what was measured, as a ratio, a number of MB, of requests or of seconds, and its target, if any."""
    yield from _encrypted(size_megabytes, rounds)
    sys.path.insert(0, str(TESTS))
    from support import s3_server

    os.environ |= {
        "AWS_ACCESS_KEY_ID": s3_server.KEY,
        "AWS_SECRET_ACCESS_KEY": s3_server.SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with s3_server.rclone() as server:
        url = server.url(server.new_bucket(), direct=True)
        for action in ("upload", "download"):
            seconds: dict[str, list[float]] = {"obstore": [], "dumpty": []}
            memory = 0.0
            for _ in range(rounds):
                for library, figures in seconds.items():
                    took, peak = _run(action, library, url, size_megabytes)
                    figures.append(took)
                    memory = peak if library == "dumpty" else memory
            ratio = statistics.median(seconds["dumpty"]) / statistics.median(seconds["obstore"])
            yield f"{action} of {size_megabytes} MB: seconds, against obstore's own", ratio, TARGET
            yield f"{action} of {size_megabytes} MB: peak memory in MB", memory, MEMORY_MB
    with s3_server.moto() as server:
        yield from _far(server, backups)


def _encrypted(size_megabytes: int, rounds: int) -> Iterator[tuple[str, float, float | None]]:
    """Yield what age adds to the seconds of a backup of SQLite, which is the fastest there is, and of what follows."""
    import data
    from measure import Figures
    from measure import measured as run

    with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as name:
        top = Path(name)
        data.fill_sqlite(top / "shop.db", data.Size(size_megabytes))
        dumpty = [sys.executable, "-m", "dumpty"]
        subprocess.run([*dumpty, "keys", "new", "--quiet"], cwd=top, check=True)
        recipient = (top / "key.txt").read_text().partition("public key: ")[2].split()[0]
        steps = {
            "backup": (["backup", "sqlite:///shop.db"], ["--encrypt-to", recipient]),
            "verify": (["verify", "latest"], ["--identity", "key.txt"]),
            "restore": (["restore", "latest", "--to", "sqlite:///new.db"], ["--identity", "key.txt"]),
        }
        for step, (arguments, keys) in steps.items():
            plain, sealed = Figures(), Figures()
            for _ in range(rounds):
                for figures, directory, options in ((plain, "plain", []), (sealed, "sealed", keys)):
                    (top / "new.db").unlink(missing_ok=True)
                    argv = [*dumpty, *arguments, "--dir", directory, "--quiet", *options]
                    run(argv, figures, cwd=top)
            ratio = sealed.median / plain.median
            target = SEALED_TARGET if step == "backup" else None
            yield f"{step} of {size_megabytes} MB encrypted by age: seconds, against the same without", ratio, target


def _run(action: str, library: str, url: str, megabytes: int) -> tuple[float, float]:
    argv = [sys.executable, __file__, action, library, url, str(megabytes)]
    seconds, peak = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def _far(server, backups: int) -> Iterator[tuple[str, float, float | None]]:
    from concurrent.futures import ThreadPoolExecutor

    import growth

    from dumpty_plugins import s3

    with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as top:
        directory, database = Path(top, "near"), Path(top, "near.db")
        growth.full(directory, backups)
        bucket = server.new_bucket()
        store = s3.open_store(server.url(bucket, direct=True))
        files = [path for path in directory.rglob("*") if path.is_file() and "~" not in path.name]
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda p: store.put(str(p.relative_to(directory)), p.read_bytes()), files):
                pass
        server.proxy.latency = LATENCY_SECONDS
        far = server.url(bucket)
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(top, "caches"))}
        for what, arguments, most, limit in (
            ("list, cold", ("list",), backups + 4, 10.0),
            ("list, warm", ("list",), 4, 2.0),
            ("show latest", ("show", "latest"), 6, None),
            ("backup of a small database", ("backup", f"sqlite:///{database}"), 8, None),
            ("prune of nine tenths", ("prune", "--keep-last", str(backups // 10), "--yes"), 60, None),
        ):
            server.proxy.requests.clear()
            begun = time.perf_counter()
            command = [sys.executable, "-m", "dumpty", *arguments, "--dir", far, "--quiet"]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - begun
            of = f"{what}, of {backups:,} backups 30 ms away"
            yield f"{of}: requests", len(server.proxy.requests), most
            yield f"{of}: seconds", seconds, limit


def _act(action: str, library: str, url: str, size: int) -> float:
    """Do it, and return the seconds that the bytes took; what it takes to begin is the same for one byte."""
    block = os.urandom(BLOCK)
    if library == "dumpty":
        from dumpty_plugins import s3

        store = s3.open_store(url)
        store.capabilities()
        started = time.perf_counter()
        if action == "upload":
            upload = store.upload(f"{NAME}-{os.getpid()}")
            for _ in range(size // BLOCK):
                upload.write(block)
            upload.commit()
        else:
            reader = store.open(f"{NAME}-obstore")
            while reader.read(BLOCK):
                pass
            reader.close()
        return time.perf_counter() - started
    import obstore
    from obstore.store import S3Store

    bucket, _, endpoint = url.removeprefix("s3://").partition("/?endpoint=")
    options = {"endpoint": endpoint, "region": "us-east-1", "virtual_hosted_style_request": False}
    theirs = S3Store(bucket, **options, client_options={"allow_http": True})
    obstore.put(theirs, "small", b"x")
    started = time.perf_counter()
    if action == "upload":
        blocks = (block for _ in range(size // BLOCK))
        obstore.put(theirs, f"{NAME}-obstore", blocks, chunk_size=8 << 20, max_concurrency=3)
    else:
        for _ in obstore.get(theirs, f"{NAME}-obstore").stream(min_chunk_size=BLOCK):
            pass
    return time.perf_counter() - started


if __name__ == "__main__":
    print(_act(*sys.argv[1:4], int(sys.argv[4]) * 1_000_000), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
