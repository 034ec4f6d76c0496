//! Reads Rust text just well enough for the rules: tells code from comments and strings, and finds attributes, tests and
//! functions. Never parses expressions; every result keeps the bytes' places, so that a finding can name its line.

/// The text with comments and the contents of strings and characters blanked; newlines and lengths stay.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end > at {
            blank(&mut out, at, end);
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn blank(out: &mut [u8], from: usize, to: usize) {
    for byte in out.iter_mut().take(to).skip(from).filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// The end of the comment, string or character that begins at `at`; `at` itself when none does.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + string(rest),
        [b'\'', ..] => at + character(rest),
        [b'r', b'"' | b'#', ..] if !is_in_word(bytes, at) => at + raw_string(rest),
        _ => at,
    }
}

/// True when the `r` at `at` ends a longer name; `br` and `cr` begin strings too.
fn is_in_word(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|index| bytes.get(index)).copied().unwrap_or(b' ');
    if matches!(before(1), b'b' | b'c') { is_word(before(2)) } else { is_word(before(1)) }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string, or nothing: `r#type` is a name.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest.iter().skip(1).take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = rest.get(hashes + 2..).unwrap_or_default();
    body.windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| hashes + 2 + at + end.len())
}

/// A character, or nothing: `'a` is a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', _, tail @ ..] => 3 + tail.iter().position(|byte| *byte == b'\'').map_or(0, |at| at + 1),
        [_, first, tail @ ..] => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            if tail.get(width - 1) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where `needle` stands in `text` and is no part of a longer name.
pub(super) fn words(text: &str, needle: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let joins = |inner: Option<u8>, outer: Option<&u8>| inner.is_some_and(is_word) && outer.copied().is_some_and(is_word);
    let whole = |at: &usize| {
        let before = at.checked_sub(1).and_then(|index| bytes.get(index));
        !joins(needle.bytes().next(), before) && !joins(needle.bytes().last(), bytes.get(at + needle.len()))
    };
    text.match_indices(needle).map(|(at, _)| at).filter(whole).collect()
}

/// The place just behind the bracket that closes the one at `open`; the end of the text when nothing does.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Every attribute: its place, and its text without white space.
pub(super) fn attributes(code: &str) -> Vec<(usize, String)> {
    let begins = code.match_indices('#').filter_map(|(at, _)| {
        let rest = code.get(at + 1..)?;
        let open = at + 1 + usize::from(rest.starts_with('!'));
        code.get(open..)?.starts_with('[').then_some((at, open))
    });
    begins
        .map(|(at, open)| {
            let inner = code.get(open..closing(code, open)).unwrap_or_default();
            (at, inner.split_whitespace().collect())
        })
        .collect()
}

/// The code with `#[cfg(test)]` items blanked.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, attribute) in attributes(code) {
        if attribute == "[cfg(test)]" {
            blank(&mut out, at, item_end(code, at));
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the item whose attribute stands at `at`: its block, or its semicolon.
fn item_end(code: &str, at: usize) -> usize {
    let mut place = closing(code, at + 1);
    while let Some(byte) = code.as_bytes().get(place) {
        match byte {
            b'{' => return closing(code, place),
            b';' => return place + 1,
            b'(' | b'[' => place = closing(code, place),
            _ => place += 1,
        }
    }
    code.len()
}

/// A function with a body.
pub(super) struct Function {
    /// Its name.
    pub(super) name: String,
    /// Where `fn` stands.
    pub(super) at: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub(super) lines: usize,
}

/// Every function with a body, inner ones too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn").into_iter().filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let rest = code.get(at + 2..)?;
    let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let end = item_end(code, at);
    let body = code.get(at..end)?;
    (!name.is_empty() && body.ends_with('}')).then(|| Function { name, at, lines: body.matches('\n').count() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked() {
        let text = "let a = \"x { \\\" y\"; // z {\nlet b = r#\"raw \" {\"#; /* c /* d */ e */ let c = '{'; let d = 'ü'; f::<'a>(b'\\'');";
        let code = code(text);
        assert_eq!(code.len(), text.len(), "{code}");
        assert_eq!(code.matches('\n').count(), 1);
        for gone in ['x', 'y', 'z', '{', 'e', 'ü'] {
            assert!(!code.replace("let", "").contains(gone), "{gone}: {code}");
        }
        assert!(code.contains("let d =") && code.contains("f::<'a>("), "{code}");
    }

    #[test]
    fn raw_names_are_no_strings() {
        assert_eq!(code("let r#type = for_r(1); \"a\""), format!("let r#type = for_r(1);{}", " ".repeat(4)));
        assert_eq!(code("br#\"x\"# y"), format!("b{}y", " ".repeat(7)));
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("fn fnord afn fn", "fn"), [0, 13]);
    }

    #[test]
    fn tests_are_blanked() {
        let code = without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nmod more;\nfn c() {}");
        let names: Vec<String> = functions(&code).into_iter().map(|function| function.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert!(!code.contains("more"), "{code}");
    }

    #[test]
    fn functions_are_measured() {
        let code = "fn a(x: [u8; 4]) -> u8\nwhere\n    T: X,\n{\n    x\n}\ntrait T { fn none(&self); fn two() {\n} }\nlet f: fn(u8) = g;";
        let all: Vec<(String, usize)> = functions(code).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(all, [("a".to_owned(), 6), ("two".to_owned(), 2)]);
    }
}
