//! The words of the mock model where no hint gives it chunks to send.
//!
//! Readable, deterministic, and never longer than a screen.

use crate::request::ChatRequest;

/// Characters of each tool result repeated in the answer.
const RESULT_CHARS_MAX: usize = 200;
/// Characters of the user's message repeated in the answer.
const QUOTE_CHARS_MAX: usize = 120;

/// What the model says: the fresh tool results if there are any, else what can be tried.
pub(crate) fn answer(request: &ChatRequest) -> String {
    let results = request.fresh_results();
    if results.is_empty() { welcome(request) } else { about_results(&results) }
}

fn about_results(results: &[(&str, &str)]) -> String {
    let lines: Vec<String> = results
        .iter()
        .map(|(tool, result)| format!("The tool {tool} answered: {}", start_of(result, RESULT_CHARS_MAX)))
        .collect();
    lines.join("\n")
}

fn welcome(request: &ChatRequest) -> String {
    let third = match request.offered_tool() {
        Some(tool) => {
            format!("`tool:{tool}{{}}` calls the tool {tool} with the arguments between its braces")
        }
        None => "`fail:503` fails the first attempt, so that you can watch the retry".to_owned(),
    };
    let said = request.last_user_text().trim();
    let quote = match said {
        "" => String::new(),
        said => format!(" You said: \"{}\".", start_of(said, QUOTE_CHARS_MAX)),
    };
    format!(
        "This is the mock model: it needs no key and answers at once.{quote} Put a hint into your message to see more. \
         Three things to try:\n\
         - `slow:40x250 tell me a story` streams for ten seconds: attach a second client, or kill a process meanwhile\n\
         - `many:2000` answers with two thousand chunks at once\n\
         - {third}\n"
    )
}

/// The first `chars_max` characters of `text`, with an ellipsis when there are more.
fn start_of(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::start_of;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(start_of("äöü", 3), "äöü");
        assert_eq!(start_of("äöüß", 3), "äöü…");
        assert_eq!(start_of("", 3), "");
    }
}
