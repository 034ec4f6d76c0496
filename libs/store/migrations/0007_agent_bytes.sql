-- How much a definition takes in an answer, about: what pages of agents are cut by. Kept, for to measure it is to unpack it.
ALTER TABLE agents ADD COLUMN bytes integer NOT NULL GENERATED ALWAYS AS (octet_length(spec::text)) STORED;
