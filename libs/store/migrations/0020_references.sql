-- The record of an end refers to its message and no longer holds it. A binary that does not know this would publish such an end
-- without its message, so it must not run on this schema.
UPDATE schema_compatibility SET min_compatible = greatest(min_compatible, 20);
