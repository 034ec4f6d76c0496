//! Words from outside, made fit to be shown: bounded, without control characters, and without anything that is a key.
//!
//! Providers repeat the key that they refuse, whole or in part, and gateways put it into URLs. What a provider, a transport or a
//! tool says about a failure is read by everybody who may see the run, so every such text passes through [`Secrets::words`]
//! before anything else sees it.

use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

/// Characters of words that are kept.
pub(crate) const WORDS_CHARS_MAX: usize = 1_000;
/// What stands where a key stood.
const MASK: &str = "[key]";
/// A configured key shorter than this may be a word of the language; it is masked only where it stands by itself.
const KEY_CHARS_MIN: usize = 8;
/// How keys begin, as their issuers make them.
const KEY_BEGINNINGS: [&str; 14] =
    ["sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "gsk_", "xai-", "hf_", "r8_", "nvapi-", "AIza", "ya29.", "eyJ"];
/// Characters of what begins like a key and is taken for one.
const KEY_LIKE_CHARS_MIN: usize = 12;
/// Characters of a key's beginning or end that give it away.
const PIECE_CHARS_MIN: usize = 6;
/// Names of query parameters and fields whose value is a key.
const KEY_NAMES: [&str; 10] =
    ["key", "api_key", "api-key", "apikey", "token", "access_token", "secret", "password", "signature", "sig"];

/// The values that must not be shown.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Vec<SecretString>>);

impl Secrets {
    /// The key, and what a URL holds of credentials.
    pub(crate) fn new(key: Option<&SecretString>, url: &reqwest::Url) -> Self {
        let in_url = url.query_pairs().filter(|(name, _)| is_key_name(name)).map(|(_, value)| value.into_owned());
        let in_url = in_url.chain(url.password().map(str::to_owned));
        let all = key.map(|key| key.expose_secret().to_owned()).into_iter().chain(in_url);
        Self(Arc::new(
            all.map(|secret| secret.trim().to_owned()).filter(|secret| !secret.is_empty()).map(SecretString::from).collect(),
        ))
    }

    /// The text as it may be shown, one line or more, at most [`WORDS_CHARS_MAX`] characters.
    #[must_use]
    pub fn words(&self, text: &str) -> String {
        // Far more than is kept is left out before anything is looked for: masks make a text shorter, rarely by so much.
        let text = text.trim();
        let text: String = text[..text.floor_char_boundary(WORDS_CHARS_MAX * 64)].chars().map(printable).collect();
        self.masked(&text).chars().take(WORDS_CHARS_MAX).collect()
    }

    /// The text with every key masked.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().map(|secret| secret.expose_secret()) {
            if secret.chars().count() >= KEY_CHARS_MIN {
                text = text.replace(secret, MASK);
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(start) = rest.find(is_key_char) {
            let (between, from) = rest.split_at(start);
            let (token, after) = from.split_at(from.find(|c| !is_key_char(c)).unwrap_or(from.len()));
            out.push_str(between);
            let bare = token.trim_end_matches('.');
            let after_key_name = names_a_key(&out) || (follows_bearer(&out) && bare.contains(|c: char| c.is_ascii_digit()));
            if bare != "key" && !bare.is_empty() && (after_key_name || self.is_key(token, bare)) {
                out.push_str(MASK);
                if bare.len() + 1 == token.len() {
                    out.push('.');
                }
            } else {
                out.push_str(token);
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// True when a token is a key or shows a piece of one. `bare` is the token without the full stops behind it.
    fn is_key(&self, token: &str, bare: &str) -> bool {
        let hidden = token.contains("**") || token.contains("...") || token.contains(['…', '•']);
        let begins = KEY_BEGINNINGS.iter().any(|beginning| bare.starts_with(beginning));
        if begins && (hidden || bare.chars().count() >= KEY_LIKE_CHARS_MIN) {
            return true;
        }
        self.0.iter().map(|secret| secret.expose_secret()).any(|secret| {
            let is_whole = bare == secret || token == secret;
            let long = secret.chars().count() > PIECE_CHARS_MIN + 2;
            let piece = if hidden { 2 } else { PIECE_CHARS_MIN };
            let head = common(bare.chars(), secret.chars());
            let tail = common(bare.chars().rev(), secret.chars().rev());
            is_whole || (long && (head >= piece || tail >= piece.max(3)))
        })
    }
}

/// How many characters two texts begin with in common.
fn common(left: impl Iterator<Item = char>, right: impl Iterator<Item = char>) -> usize {
    left.zip(right).take_while(|(left, right)| left == right).count()
}

/// True after `Bearer `. What follows may still be a word, as in "bearer token".
fn follows_bearer(before: &str) -> bool {
    before.len() >= 7 && before.get(before.len() - 7..).is_some_and(|end| end.eq_ignore_ascii_case("bearer "))
}

/// True when what stands before a value says that the value is a key: `?key=`, `&api_key=`, `token=`.
fn names_a_key(before: &str) -> bool {
    if let Some(before) = before.strip_suffix('=') {
        let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).next().unwrap_or_default();
        return is_key_name(name);
    }
    false
}

fn is_key_name(name: &str) -> bool {
    KEY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What keys are made of, and what stands for their hidden parts.
fn is_key_char(c: char) -> bool {
    c.is_alphanumeric() || "-_.*…•".contains(c)
}

/// Neither a column of the database nor a terminal takes control characters.
fn printable(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        _ if c.is_control() => '\u{fffd}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(key: &str, url: &str) -> Secrets {
        let key = (!key.is_empty()).then(|| SecretString::from(key.to_owned()));
        reqwest::Url::parse(url).map(|url| Secrets::new(key.as_ref(), &url)).unwrap_or_default()
    }

    fn words(key: &str, text: &str) -> String {
        secrets(key, "https://example.com/v1").words(text)
    }

    #[test]
    fn the_key_is_masked_whole_and_in_part() {
        let key = "sk-proj-abcdef0123456789XYZ";
        for (said, wanted) in [
            ("Incorrect API key provided: sk-proj-abcdef0123456789XYZ.", "Incorrect API key provided: [key]."),
            ("Incorrect API key provided: sk-proj-*******************9XYZ. Look", "Incorrect API key provided: [key]. Look"),
            ("key sk-…XYZ is bad", "key [key] is bad"),
            ("key sk-pr...XYZ is bad", "key [key] is bad"),
            ("key ****9XYZ is bad", "key [key] is bad"),
            ("begins with sk-proj-abc", "begins with [key]"),
            ("(sk-proj-abcdef0123456789XYZ)", "([key])"),
            ("xsk-proj-abcdef0123456789XYZy", "x[key]y"),
            ("another sk-ant-0000000000000000000 of yours", "another [key] of yours"),
            ("Authorization: Bearer abcdef0", "Authorization: Bearer [key]"),
            ("GET https://h/v1?x=1&key=abc&y=2", "GET https://h/v1?x=1&key=[key]&y=2"),
        ] {
            assert_eq!(words(key, said), wanted);
        }
    }

    #[test]
    fn words_without_a_key_stay_as_they_are() {
        let plain = "You exceeded your current quota, please check max_tokens=4096 for gpt-4o-mini (HTTP 429) ...";
        for key in ["", "x", "none", "sk-proj-abcdef0123456789XYZ", "test-key"] {
            assert_eq!(words(key, plain), plain, "{key}");
        }
        assert_eq!(words("none", "none is no key"), "[key] is no key");
    }

    #[test]
    fn words_are_clean_and_bounded() {
        assert_eq!(words("", " bad \0 byte\r\n\u{1b}[31m "), "bad \u{fffd} byte \n\u{fffd}[31m");
        assert_eq!(words("", &"ä".repeat(400_000)).chars().count(), WORDS_CHARS_MAX);
        let key = "0123456789abcdef0123456789abcdef";
        let many = words(key, &key.repeat(2_000)[..40_000 - 7]);
        assert!(!many.contains("0123456"), "{}", &many[many.len().saturating_sub(50)..]);
    }

    #[test]
    fn credentials_in_the_url_are_secrets_too() {
        let secrets = secrets("", "https://user:hunter2hunter2@example.com/v1?api-version=2024-10-21&key=AbCdEfGhIj");
        assert_eq!(secrets.words("bad AbCdEfGhIj and hunter2hunter2 for 2024-10-21"), "bad [key] and [key] for 2024-10-21");
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
