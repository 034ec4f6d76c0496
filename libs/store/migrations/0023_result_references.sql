-- Messages refer to the results of tools, which stand in the journal. A binary that does not know this would take such a result
-- for an unreadable message, so it must not run on this schema.
UPDATE schema_compatibility SET min_compatible = greatest(min_compatible, 23);
