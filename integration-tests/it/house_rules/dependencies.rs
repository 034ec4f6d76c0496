//! The manifests: every dependency once, in the root's table, with its reason behind it.

use super::tree::{File, Tree};

/// Dependencies without a reason in the root's table, and dependencies that a crate declares past it.
pub(super) fn without_reason(tree: &Tree) -> Vec<String> {
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    manifests.flat_map(|file| if file.path == "Cargo.toml" { root(file) } else { member(file) }).collect()
}

fn root(file: &File) -> Vec<String> {
    let outside = entries(file, "workspace.dependencies").into_iter().filter(|(_, line)| !line.contains("path = "));
    let bare = outside.filter(|(_, line)| line.rsplit_once(" # ").is_none_or(|(_, reason)| reason.trim().is_empty()));
    bare.map(|(at, line)| file.finding(at, &format!("no reason behind `{}`", name(line)))).collect()
}

fn member(file: &File) -> Vec<String> {
    let own = entries(file, "dependencies").into_iter().filter(|(_, line)| {
        let inherits = line.replace(' ', "");
        !inherits.contains("workspace=true")
    });
    own.map(|(at, line)| file.finding(at, &format!("`{}` belongs in the root's table", name(line)))).collect()
}

fn name(line: &str) -> &str {
    line.split(['=', '.']).next().unwrap_or(line).trim()
}

/// Lines `name = …` of every table whose name ends with `table`: their places and texts.
fn entries<'a>(file: &'a File, table: &str) -> Vec<(usize, &'a str)> {
    let (mut inside, mut at, mut all) = (false, 0, Vec::new());
    for line in file.text.split_inclusive('\n') {
        if let Some(header) = line.trim().strip_prefix('[').filter(|header| header.ends_with(']')) {
            inside = header.trim_matches(['[', ']']).ends_with(table);
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) && line.contains('=') {
            all.push((at, line.trim_end()));
        }
        at += line.len();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_reason_is_found() {
        let tree = Tree::made_up(&[(
            "Cargo.toml",
            "[workspace.dependencies]\nours = { path = \"libs/ours\" }\ngood = \"1\" # why it is here\nbad = { version = \"1\" }\n\n[profile.dev]\ndebug = 1\n",
        )]);
        assert_eq!(without_reason(&tree), ["Cargo.toml:4: no reason behind `bad`"]);
    }

    #[test]
    fn a_dependency_past_the_table_is_found() {
        let text = "[dependencies]\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\nc = \"1\"\n[dev-dependencies]\nd = \"2\"\n";
        let found = without_reason(&Tree::made_up(&[("libs/x/Cargo.toml", text)]));
        assert_eq!(
            found,
            ["libs/x/Cargo.toml:4: `c` belongs in the root's table", "libs/x/Cargo.toml:6: `d` belongs in the root's table"]
        );
    }
}
