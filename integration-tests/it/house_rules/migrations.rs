//! Migrations that run beside an older version: no strong lock for long, nothing taken away that it uses. The reasons are in
//! libs/store/migrations/README.md.

use super::tree::{File, Tree};
use std::collections::BTreeSet;

const FOLDER: &str = "libs/store/migrations/";
/// The last migration from before the rule, when no two versions had to run side by side.
const FREE: u32 = 13;
/// What takes away something that the version before may use, or writes a whole table anew.
const CONTRACTS: &[&str] = &[
    "DROP TABLE",
    "DROP COLUMN",
    "RENAME TO",
    "RENAME COLUMN",
    "RENAME CONSTRAINT",
    "SET NOT NULL",
    "SET DATA TYPE",
    "TYPE",
    "REVOKE",
];

/// What breaks the rule.
pub(super) fn unsafe_ones(tree: &Tree) -> Vec<String> {
    let all = tree.files.iter().filter_map(|file| Some((file, name(file)?)));
    let mut findings = Vec::new();
    let mut numbers = BTreeSet::new();
    for (file, name) in all {
        match name.split_once('_').and_then(|(number, _)| number.parse::<u32>().ok()) {
            None => findings.push(file.finding(0, "a migration is named NNNN_what_it_does.sql")),
            Some(number) if !numbers.insert(number) => findings.push(file.finding(0, "two migrations have this number")),
            Some(number) if number > FREE => findings.extend(broken(file)),
            Some(_) => {}
        }
    }
    findings
}

fn name(file: &File) -> Option<&str> {
    file.path.strip_prefix(FOLDER)?.strip_suffix(".sql")
}

fn broken(file: &File) -> Vec<String> {
    let statements = statements(&file.text);
    let made: Vec<String> = statements.iter().filter_map(|one| Some(table_after(one, "CREATE TABLE ")?.to_owned())).collect();
    let raises = statements.iter().any(|one| one.starts_with("UPDATE SCHEMA_COMPATIBILITY SET MIN_COMPATIBLE"));
    let is_alone = file.text.starts_with("-- no-transaction") && statements.len() == 1;
    let mut findings = Vec::new();
    for one in &statements {
        let is_index = one.starts_with("CREATE INDEX") || one.starts_with("CREATE UNIQUE INDEX");
        let is_new = table_after(one, " ON ").is_some_and(|table| made.iter().any(|known| known == table));
        let is_concurrent = one.contains("INDEX CONCURRENTLY");
        if ((is_index && !is_new) || one.starts_with("DROP INDEX")) && !is_concurrent {
            findings.push(file.finding(0, "an index of a table that exists is built and dropped CONCURRENTLY"));
        }
        if is_concurrent && !is_alone {
            findings.push(file.finding(0, "CONCURRENTLY stands alone in a file that begins with -- no-transaction"));
        }
        if builds_a_key(one) && !raises {
            findings.push(file.finding(0, "a key of a table that exists is added USING INDEX, or min_compatible is raised"));
        }
        if let Some(word) = CONTRACTS.iter().find(|word| has(one, word)).filter(|_| !raises) {
            findings
                .push(file.finding(0, &format!("{word} takes something from older versions, and min_compatible is not raised")));
        }
    }
    findings
}

/// Whether it builds the index of a key under the table's strongest lock.
fn builds_a_key(statement: &str) -> bool {
    statement.starts_with("ALTER TABLE") && ["PRIMARY KEY (", "UNIQUE ("].iter().any(|key| statement.contains(key))
}

/// The table named behind `word`.
fn table_after<'a>(statement: &'a str, word: &str) -> Option<&'a str> {
    let rest = statement.split_once(word)?.1;
    let rest = rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest);
    rest.split([' ', '(']).find(|word| !word.is_empty())
}

/// As whole words; `TYPE` only where it changes a column.
fn has(statement: &str, words: &str) -> bool {
    let words = if words == "TYPE" { "ALTER COLUMN" } else { words };
    let padded = format!(" {statement} ");
    let found = padded.contains(&format!(" {words} "));
    if words == "ALTER COLUMN" { found && padded.contains(" TYPE ") } else { found }
}

/// The statements in capitals with single blanks, without comments. What stands inside of `$$` is not taken apart.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or(line));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut all = vec![String::new()];
    for (index, part) in code.split("$$").enumerate() {
        let mut pieces = if index % 2 == 0 { part.split(';').collect::<Vec<_>>() } else { vec![part] }.into_iter();
        if let (Some(last), Some(first)) = (all.last_mut(), pieces.next()) {
            last.push_str(first);
        }
        all.extend(pieces.map(str::to_owned));
    }
    let tidy = all.iter().map(|one| one.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase());
    tidy.filter(|one| !one.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, text: &str) -> Vec<String> {
        unsafe_ones(&Tree::made_up(&[(&format!("{FOLDER}{name}"), text)]))
    }

    #[test]
    fn what_older_versions_cannot_live_with_is_found() {
        for text in [
            "CREATE INDEX a ON runs (x);",
            "CREATE TABLE b (x int); CREATE UNIQUE INDEX a ON runs (x);",
            "DROP INDEX a;",
            "CREATE INDEX CONCURRENTLY a ON runs (x);",
            "-- no-transaction\nCREATE INDEX CONCURRENTLY a ON runs (x); SELECT 1;",
            "ALTER TABLE runs DROP COLUMN x;",
            "ALTER TABLE runs\n  RENAME COLUMN x TO y;",
            "alter table runs alter column x type bigint;",
            "ALTER TABLE runs ALTER COLUMN x SET NOT NULL;",
            "DROP TABLE runs;",
            "ALTER TABLE steps ADD PRIMARY KEY (a, b);",
            "ALTER TABLE steps ADD CONSTRAINT one UNIQUE (a);",
            "DO $$ BEGIN PERFORM 1; END $$; DROP TABLE runs;",
        ] {
            assert_eq!(findings("0014_x.sql", text).len(), 1, "{text}");
            assert!(findings("0013_x.sql", text).is_empty(), "{text}");
        }
        assert_eq!(findings("new.sql", "SELECT 1").len(), 1);
        let twice = Tree::made_up(&[("libs/store/migrations/0014_a.sql", ""), ("libs/store/migrations/0014_b.sql", "")]);
        assert_eq!(unsafe_ones(&twice).len(), 1);
    }

    #[test]
    fn what_they_can_live_with_passes() {
        for text in [
            "CREATE TABLE b (x int, type text);\nCREATE INDEX b_x ON b (x);",
            "-- no-transaction\n-- Why.\nCREATE INDEX CONCURRENTLY a ON runs (x);",
            "-- DROP TABLE runs;\nALTER TABLE runs ADD COLUMN y int;",
            "ALTER TABLE steps ADD CONSTRAINT steps_pkey PRIMARY KEY USING INDEX steps_key;",
            "UPDATE schema_compatibility SET min_compatible = 14; ALTER TABLE steps ADD PRIMARY KEY (a);",
            "UPDATE schema_compatibility SET min_compatible = 14;\nALTER TABLE runs DROP COLUMN x;",
            "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$;",
        ] {
            assert!(findings("0014_x.sql", text).is_empty(), "{text}: {:?}", findings("0014_x.sql", text));
        }
    }
}
