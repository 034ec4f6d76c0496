-- The key of the advisory lock that a session's process holds for as long as it lives; null when it holds none.
ALTER TABLE worker_sessions ADD COLUMN alive_key bigint;
