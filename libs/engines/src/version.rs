//! Versions as the engines print them. Never compares more than major and minor.

use std::fmt;

/// Major and minor version of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The first word of `text` that begins with a number (after an optional `v`), such as `2.15.1`, `17beta1` or `v2.11`.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let word = word.strip_prefix('v').unwrap_or(word);
        let mut parts = word.split('.');
        let major = leading_number(parts.next()?)?;
        let minor = parts.next().and_then(leading_number).unwrap_or(0);
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn reads_what_the_engines_print() {
        let cases = [
            ("postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)", Some(Version::new(15, 10))),
            ("postgres (PostgreSQL) 18beta1", Some(Version::new(18, 0))),
            ("nats-server: v2.15.1", Some(Version::new(2, 15))),
            ("2.9.10", Some(Version::new(2, 9))),
            ("no number here", None),
            ("", None),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), version, "{text}");
        }
    }

    #[test]
    fn orders_by_number_not_by_text() {
        assert!(Version::new(2, 9) < Version::new(2, 11));
    }
}
