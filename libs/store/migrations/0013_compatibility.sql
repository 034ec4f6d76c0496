-- Which binaries this schema can serve. A service starts on a schema that is newer than it knows, unless min_compatible is above
-- the newest migration it knows. A migration that older binaries cannot live with raises it; README.md here says when.
-- Older binaries than this one refuse by themselves: they know no migration above 8 and take none for granted.
CREATE TABLE schema_compatibility (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    min_compatible bigint NOT NULL CHECK (min_compatible > 0)
);
INSERT INTO schema_compatibility (min_compatible) VALUES (13);

-- Every login may see which schema it is on: the check comes before any role is taken.
GRANT SELECT ON schema_compatibility, _sqlx_migrations TO PUBLIC;
