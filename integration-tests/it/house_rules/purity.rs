//! The domain decides and computes; it reads no clock, rolls no dice and knows nobody who does.

use super::source;
use super::tree::{File, Tree};

/// What neither code nor tests of libs/domain may name.
const BANNED: &[&str] = &["tokio", "prost", "tonic", "sqlx", "async_nats", "rand", "SystemTime", "Instant::now"];
/// What its code may not name besides; a test may read the table that it compares.
const BANNED_IN_CODE: &[&str] = &["now_utc", "now_v7", "new_v4", "std::net", "std::fs", "std::env"];

/// Names in the code of libs/domain that make it impure.
pub(super) fn broken(tree: &Tree) -> Vec<String> {
    let domain = tree.rust().filter(|file| file.path.starts_with("libs/domain/"));
    domain
        .flat_map(|file| {
            let mut all = named(file, &source::code(&file.text), BANNED);
            all.extend(named(file, &file.production_code(), BANNED_IN_CODE));
            all
        })
        .collect()
}

fn named(file: &File, code: &str, names: &[&str]) -> Vec<String> {
    let places = names.iter().flat_map(|name| source::words(code, name).into_iter().map(move |at| (at, *name)));
    places.map(|(at, name)| file.finding(at, &format!("`{name}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impurities_are_found() {
        let text = "//! Not tokio.\nuse std::time::SystemTime;\nlet operand = \"tokio\";\nlet t = Instant::now();\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let tree = Tree::made_up(&[("libs/domain/src/a.rs", text), ("libs/host/src/a.rs", text)]);
        assert_eq!(
            broken(&tree),
            [
                "libs/domain/src/a.rs:2: `SystemTime`",
                "libs/domain/src/a.rs:4: `Instant::now`",
                "libs/domain/src/a.rs:5: `std::fs`"
            ]
        );
    }
}
