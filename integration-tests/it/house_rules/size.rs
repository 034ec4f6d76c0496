//! A function that does not fit on a screen hides what it does.

use super::source;
use super::tree::Tree;

/// Lines of one function at most, signature and braces counted.
const LINES_MAX: usize = 70;

/// Functions of production code that are longer than they may be.
pub(super) fn long_functions(tree: &Tree) -> Vec<String> {
    let production = tree.rust().filter(|file| file.is_production());
    production
        .flat_map(|file| {
            let long = source::functions(&file.production_code()).into_iter().filter(|function| function.lines > LINES_MAX);
            long.map(|function| file.finding(function.at, &format!("`{}` has {} lines", function.name, function.lines)))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_are_found() {
        let long = format!("//! X.\nfn long() {{{}}}\nfn short() {{}}\n", "\n    f();".repeat(69) + "\n");
        let fits = long.replacen("\n    f();", "", 1);
        let tree = Tree::made_up(&[("libs/x/src/a.rs", &long), ("libs/x/src/b.rs", &fits), ("libs/x/tests/a.rs", &long)]);
        assert_eq!(long_functions(&tree), ["libs/x/src/a.rs:2: `long` has 71 lines"]);
    }
}
