//! Names and ids as every provider takes them. Pure.
//!
//! A provider refuses the whole prompt when a call in it has a name or an id that it does not like, also one that its model
//! made up; then no turn of the thread would ever succeed again.

use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::limits::NAME_BYTES_MAX;

/// Characters of a call id: OpenAI takes no longer one back.
const ID_BYTES_MAX: usize = 40;

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// The name in letters, digits, `-` and `_`, at least one and at most 64. It is for the prompt only: what may run is decided by
/// the name as the model wrote it.
pub(crate) fn safe_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if u8::try_from(c).is_ok_and(is_safe) { c } else { '_' }).take(NAME_BYTES_MAX).collect();
    if safe.is_empty() { "_".to_owned() } else { safe }
}

/// True when every provider takes the id.
pub(crate) fn is_safe_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(is_safe)
}

/// The id, or one in its place that is always the same for it.
pub(crate) fn safe_id(id: &str) -> String {
    if is_safe_id(id) { id.to_owned() } else { format!("x{}", &Sha256Digest::of(id.as_bytes()).hex()[..8]) }
}

/// An id for a call that came without one that can be used: nine letters and digits, which the strictest templates want.
pub(crate) fn made_up_id(step_index: u32, place: usize) -> String {
    format!("c{step_index:04}{place:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_that_providers_take() {
        for (name, wanted) in [("echo", "echo"), ("functions.echo\" />", "functions_echo____"), ("", "_"), ("übung()", "_bung__")]
        {
            assert_eq!(safe_name(name), wanted);
        }
        assert_eq!(safe_name(&"é".repeat(100)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn ids_are_short_and_plain() {
        assert!(is_safe_id("call_AbC-1") && is_safe_id(&made_up_id(1_000, 127)));
        assert_eq!(made_up_id(1, 0).len(), 9);
        for odd in ["", "functions.echo:0", "a b", "ü", &"x".repeat(41)] {
            assert!(!is_safe_id(odd), "{odd}");
            assert!(is_safe_id(&safe_id(odd)), "{odd}");
            assert_eq!(safe_id(odd), safe_id(odd));
        }
        assert_ne!(safe_id("a b"), safe_id("a c"));
    }
}
