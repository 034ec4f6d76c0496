//! Checks of text at the border.

use crate::error::Refusal;
use crate::limits;

/// Refuses NUL, which neither text nor jsonb of Postgres can hold.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `field`.
pub fn without_nul(field: &str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(Refusal::field(field, "must not contain NUL"));
    }
    Ok(())
}

/// Refuses text of more than `max` bytes.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `field`.
pub fn at_most_bytes(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() > max {
        return Err(Refusal::field(field, format!("has {} bytes; at most {max}", text.len())));
    }
    without_nul(field, text)
}

/// Refuses text of more than `max` characters.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `field`.
pub fn at_most_chars(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    let count = text.chars().count();
    if count > max {
        return Err(Refusal::field(field, format!("has {count} characters; at most {max}")));
    }
    without_nul(field, text)
}

/// Refuses a name that is empty, too long, or holds other characters than letters, digits, `-` and `_`.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `field`.
pub fn name(field: &str, text: &str, uppercase: bool) -> Result<(), Refusal> {
    let fits =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b) || (uppercase && b.is_ascii_uppercase());
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || !text.bytes().all(fits) {
        let letters = if uppercase { "a-z, A-Z" } else { "a-z" };
        return Err(Refusal::field(field, format!("want 1 to {} of {letters}, 0-9, - and _", limits::NAME_BYTES_MAX)));
    }
    Ok(())
}

/// Refuses a name of an org that is empty, too long, or holds other characters than small letters, digits and `-`. Without `_`
/// no name reads as an id.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `field`.
pub fn org_name(field: &str, text: &str) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || !text.bytes().all(fits) || text.starts_with('-') {
        let want = format!("want 1 to {} of a-z, 0-9 and -, not beginning with -", limits::NAME_BYTES_MAX);
        return Err(Refusal::field(field, want));
    }
    Ok(())
}

/// Refuses an idempotency key that is absent, too long, or not visible ASCII.
///
/// # Errors
/// [`Refusal::InvalidField`] naming `idempotency_key`.
pub fn idempotency_key(key: &str) -> Result<(), Refusal> {
    let visible = key.bytes().all(|b| b.is_ascii_graphic());
    if key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX || !visible {
        let want = format!("want 1 to {} visible ASCII characters, new for every intent", limits::IDEMPOTENCY_KEY_BYTES_MAX);
        return Err(Refusal::field("idempotency_key", want));
    }
    Ok(())
}

/// The first `max` bytes of `text`, cut at a character.
#[must_use]
pub fn cut_bytes(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// One line of at most `max` characters out of any text, for titles.
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let mut cut: String = line.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// What stands where the end of a text was cut off.
pub const CUT_MARK: &str = "\n[cut here: too long]";

/// At most `max` bytes, with a mark where something was cut off.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(CUT_MARK.len())));
        text.push_str(CUT_MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_characters_and_says_so() {
        assert_eq!(cut("abc".into(), 3), "abc");
        let long = cut("ä".repeat(100), 41);
        assert!(long.len() <= 41);
        assert!(long.starts_with('ä') && long.ends_with("too long]"));
    }

    #[test]
    fn keys_are_visible_ascii() {
        assert!(idempotency_key("k-1").is_ok());
        for bad in ["", "a b", "ü", "a\n", &"x".repeat(129)] {
            assert!(idempotency_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_name_of_an_org_is_an_id() {
        for good in ["a", "0", "acme-2"] {
            assert_eq!(org_name("name", good), Ok(()));
        }
        let id = crate::id::OrgId::of_name("a").to_string();
        for bad in ["", "-a", "A", "a_b", "a b", "*", "ü", id.as_str(), &"a".repeat(65)] {
            assert!(org_name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cuts_never_split_a_character() {
        assert_eq!(cut_bytes("aü", 2), "a");
        assert_eq!(cut_bytes("ab", 9), "ab");
        assert_eq!(one_line("a\n b   c", 3), "a …");
        assert_eq!(one_line("abc", 3), "abc");
    }
}
