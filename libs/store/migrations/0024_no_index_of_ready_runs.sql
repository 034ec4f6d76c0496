-- no-transaction
-- Claims read READY runs by runs_lanes and runs_agent_lanes since 0018. Nothing reads this index any more, and every run writes it
-- twice.
DROP INDEX CONCURRENTLY runs_ready;
