-- One way in for every question. A plan is made once per connection, perhaps while the tables are empty and every index looks as
-- cheap as the next; an index over all runs, ended ones included, must then not be taken for a question about open ones, or its
-- cost would grow for as long as the mesh lives. So these indexes stand under a condition that is always true, and only the
-- statements that mean them say it.
DROP INDEX runs_newest;
CREATE INDEX runs_newest ON runs (org_id, id) WHERE created_at > '-infinity';

ALTER TABLE runs DROP CONSTRAINT runs_turn;
CREATE UNIQUE INDEX runs_turn ON runs (thread_id, turn_number) WHERE turn_number >= 1;

DROP INDEX threads_newest;
CREATE INDEX threads_newest ON threads (org_id, updated_at DESC, id DESC) WHERE deleted_at IS NULL AND created_at > '-infinity';
