//! Text from elsewhere made safe to print: a model or a tool must not be able to drive the terminal.

use runmesh_domain::text;

/// Any text, its control characters but line breaks and tabs made visible.
pub fn text(text: &str) -> String {
    let keep = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().filter(|c| *c != '\r').map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}

/// Any text on one line.
pub fn line(words: &str) -> String {
    text(&words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Any text on one line of at most `max` characters.
pub fn short(words: &str, max: usize) -> String {
    text(&text::one_line(words, max))
}

/// The first line that says something, of at most `max` characters.
pub fn first_line(words: &str, max: usize) -> String {
    let mut lines = words.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { " …" } else { "" };
    format!("{}{more}", short(first, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(text("a\u{1b}[2Jb\r\n\tc"), "a\u{fffd}[2Jb\n\tc");
        assert_eq!(line("a\n  b"), "a b");
        assert_eq!(first_line("\n one\ntwo", 20), "one …");
        assert_eq!(first_line("one", 20), "one");
    }
}
