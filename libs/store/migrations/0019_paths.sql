-- Steps, calls and late results of branches. The path names the calls that lead to a branch, and is empty at the top level. Compared
-- byte by byte, a branch comes after the one that it came from, and all that came of one branch stands together.
--
-- The mesh is stopped while this file is applied: older versions name the keys that go here when they journal a call, and newer ones
-- do not start before. So the keys are made anew in place.
UPDATE schema_compatibility SET min_compatible = 19;

ALTER TABLE steps ADD COLUMN path text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE steps DROP CONSTRAINT steps_pkey, ADD PRIMARY KEY (run_id, path, step_index);

ALTER TABLE calls ADD COLUMN path text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE calls DROP CONSTRAINT calls_pkey, ADD PRIMARY KEY (run_id, path, step_index, call_index);

ALTER TABLE late_results ADD COLUMN path text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE late_results DROP CONSTRAINT late_results_pkey, ADD PRIMARY KEY (run_id, path, step_index, call_index, fence);
