-- no-transaction
-- runs_aside has the order of the list, and took its place.
DROP INDEX CONCURRENTLY runs_set_aside;
