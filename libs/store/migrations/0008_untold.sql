-- A run that waits has nothing to show: its acceptance and promotion come along with its claim or its end, and whoever attaches
-- before that brings the log up. So they are not looked for; there may be as many as there are queued runs.
DROP INDEX run_transitions_unlogged;
CREATE INDEX run_transitions_unlogged ON run_transitions (at) WHERE NOT logged AND cause NOT IN ('accepted', 'promoted');
