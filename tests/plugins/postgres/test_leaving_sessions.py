"""A session that has just been closed is no reason to refuse a restore: the server takes a moment to notice."""

from __future__ import annotations

import threading

from dumpty import BackupManager


def test_a_session_that_leaves_within_a_moment_does_not_hinder_overwriting(tmp_path, postgres):
    source, target = postgres.create(), postgres.create()
    for name in (source, target):
        postgres.execute("CREATE TABLE t AS SELECT 1 AS x", database=name)
    manager = BackupManager(str(tmp_path))
    made = manager.create_backup(postgres.url(source))
    leaving = postgres.connect(target, application_name="leaving")
    timer = threading.Timer(0.4, leaving.close)
    timer.start()
    try:
        restored = manager.restore(made.backup.id, postgres.url(target), overwrite=True)
        assert restored.success, restored.error
        assert leaving.closed
    finally:
        timer.join()
        for name in (source, target):
            postgres.drop(name)
