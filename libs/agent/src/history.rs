//! The prompt: the conversation as the provider wants it, fitted to the model's window.
//!
//! The oldest turns are left out whole, so that no tool call loses its result. The run's own turn is never cut: a model
//! that finds it too long says so itself.

mod convert;
mod estimate;
pub(crate) mod names;

pub use convert::{messages_of_parts, step_messages};
pub use estimate::tokens_of_text;

use crate::model::{ChatMessage, ChatTool};
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::journal::Step;
use runmesh_domain::message::{Message, Role, plain_text};

/// Tokens kept free for the answer when the agent does not say how long it may be, at most.
const ANSWER_TOKENS_MAX: u64 = 4_096;

/// The field in which DeepSeek and those like it send reasoning and want it back.
pub(crate) const REASONING_FIELD: &str = "reasoning_content";

/// The messages of one turn.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    messages: Vec<ChatMessage>,
    tokens: u64,
}

impl Turn {
    fn add(&mut self, messages: Vec<ChatMessage>) {
        self.tokens += messages.iter().map(estimate::tokens_of_message).sum::<u64>();
        self.messages.extend(messages);
    }
}

/// What a prompt has room for.
#[derive(Debug, Clone)]
pub struct Window {
    /// What always stands in the prompt besides messages: the instructions and the tools.
    fixed_tokens: u64,
    budget: u64,
    /// The model that reads it.
    model: String,
}

impl Window {
    /// The agent's.
    #[must_use]
    pub fn new(spec: &AgentSpec, tools: &[ChatTool]) -> Self {
        let fixed_tokens = system(spec).as_ref().map_or(0, estimate::tokens_of_message) + estimate::tokens_of_tools(tools);
        let window = spec.limits.context_window_tokens;
        let answer = spec.parameters.max_output_tokens.unwrap_or(ANSWER_TOKENS_MAX).min(window / 4);
        Self { fixed_tokens, budget: window - answer, model: spec.model.clone() }
    }

    /// About how many bytes of messages fill it.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        let tokens = self.budget.saturating_sub(self.fixed_tokens).max(1);
        i64::try_from(estimate::bytes_of_tokens(tokens)).unwrap_or(i64::MAX)
    }

    /// True when the turn of the oldest of these messages, and so every one before it, has no room. The oldest itself does not
    /// count, for some of its parts may be missing.
    #[must_use]
    pub fn is_full(&self, messages: &[Message]) -> bool {
        let newer = messages.iter().skip(1).flat_map(|message| chat_messages(message, &self.model));
        self.fixed_tokens + newer.map(|message| estimate::tokens_of_message(&message)).sum::<u64>() > self.budget
    }
}

fn system(spec: &AgentSpec) -> Option<ChatMessage> {
    (!spec.instructions.is_empty()).then(|| ChatMessage::System { content: spec.instructions.clone() })
}

fn chat_messages(message: &Message, model: &str) -> Vec<ChatMessage> {
    match message.role {
        // What a job gave stands in the conversation as something that was said to the agent: no call of a turn asked for it.
        Role::User | Role::Tool => vec![ChatMessage::User { content: plain_text(&message.parts) }],
        Role::Assistant => messages_of_parts(&message.parts, model),
    }
}

/// The conversation of one run.
#[derive(Debug)]
pub struct History {
    system: Option<ChatMessage>,
    turns: Vec<Turn>,
    window: Window,
    /// Turns of the thread before those, which were not even read.
    unread: u64,
    /// True once the model's own reasoning goes back with calls.
    returns_reasoning: bool,
}

/// A conversation fitted to the window.
#[derive(Debug)]
pub struct Fitted<'a> {
    /// The messages to send.
    pub messages: Vec<&'a ChatMessage>,
    /// Turns left out, the oldest first.
    pub omitted_turns: u32,
    /// The estimate of tokens sent.
    pub tokens: u64,
}

impl History {
    /// From the thread's messages, oldest first, the run's own user message last. `unread` turns come before them, for which there
    /// is no room ([`Window::is_full`]).
    #[must_use]
    pub fn new(spec: &AgentSpec, tools: &[ChatTool], messages: &[Message], unread: u64) -> Self {
        let (system, window) = (system(spec), Window::new(spec, tools));
        let mut history = Self { system, turns: Vec::new(), window, unread, returns_reasoning: false };
        messages.iter().for_each(|message| history.add_message(message));
        history
    }

    fn add_message(&mut self, message: &Message) {
        let messages = chat_messages(message, &self.window.model);
        if self.turns.last().is_none_or(|turn| turn.number != message.turn_number) {
            self.turns.push(Turn { number: message.turn_number, ..Turn::default() });
        }
        self.add(messages);
    }

    /// Adds messages to the last turn. A model that wants its reasoning back wants it with all calls, also with those that
    /// it made without a word of it.
    fn add(&mut self, messages: Vec<ChatMessage>) {
        self.returns_reasoning |= messages.iter().any(has_reasoning);
        if let Some(turn) = self.turns.last_mut() {
            turn.add(messages);
        }
        if !self.returns_reasoning {
            return;
        }
        for message in self.turns.iter_mut().flat_map(|turn| &mut turn.messages) {
            let silent = !has_reasoning(message);
            if let ChatMessage::Assistant { tool_calls, fields, .. } = message
                && silent
                && !tool_calls.is_empty()
            {
                fields.set_text(REASONING_FIELD, "");
            }
        }
    }

    /// Adds a step of the run, whose calls are all over.
    pub fn add_step(&mut self, step: &Step) {
        if self.turns.is_empty() {
            self.turns.push(Turn::default());
        }
        self.add(step_messages(step, &self.window.model));
    }

    /// The newest turns that fit the window, the run's own always among them.
    #[must_use]
    pub fn fit(&self) -> Fitted<'_> {
        let own = self.turns.len().saturating_sub(1);
        let mut tokens = self.window.fixed_tokens + self.turns.last().map_or(0, |turn| turn.tokens);
        let mut first = own;
        for (index, turn) in self.turns.iter().enumerate().take(own).rev() {
            if tokens + turn.tokens > self.window.budget {
                break;
            }
            tokens += turn.tokens;
            first = index;
        }
        let turns = self.turns.iter().skip(first).flat_map(|turn| &turn.messages);
        let messages = self.system.iter().chain(turns).collect();
        let omitted_turns = u32::try_from(self.unread + first as u64).unwrap_or(u32::MAX);
        Fitted { messages, omitted_turns, tokens }
    }
}

fn has_reasoning(message: &ChatMessage) -> bool {
    matches!(message, ChatMessage::Assistant { fields, .. } if fields.0.contains_key(REASONING_FIELD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;
    use runmesh_domain::id::{MessageId, RunId, ThreadId};
    use runmesh_domain::message::{Part, ProviderData};

    fn message(turn_number: u64, role: Role, parts: Vec<Part>) -> Message {
        Message {
            id: MessageId::derived(&[&turn_number.to_be_bytes(), format!("{role:?}").as_bytes()]),
            thread: ThreadId::derived(&[b"t"]),
            run: RunId::derived(&[b"r"]),
            turn_number,
            role,
            parts,
            unfinished: false,
            internal: false,
            created_at: Timestamp::from_micros(0),
        }
    }

    fn spec(context_window_tokens: u64) -> AgentSpec {
        let mut spec = AgentSpec { instructions: "be brief".into(), ..AgentSpec::default() };
        spec.limits.context_window_tokens = context_window_tokens;
        spec
    }

    /// Each turn: a question, and an answer with a tool call and its result; about 1,000 tokens.
    fn turn(number: u64) -> [Message; 2] {
        let call = Part::tool_call("c", "t", "{}");
        let result = Part::ToolResult { call_id: "c".into(), name: "t".into(), content: "r".repeat(2_000), is_error: false };
        let parts = vec![call, result, Part::text("a".repeat(1_900))];
        [message(number, Role::User, vec![Part::text(format!("question {number}"))]), message(number, Role::Assistant, parts)]
    }

    fn conversation(turns: u64) -> Vec<Message> {
        let mut messages: Vec<_> = (1..=turns).flat_map(turn).collect();
        messages.push(message(turns + 1, Role::User, vec![Part::text("now")]));
        messages
    }

    #[test]
    fn everything_is_sent_when_it_fits() {
        let history = History::new(&spec(100_000), &[], &conversation(5), 0);
        let fitted = history.fit();
        assert_eq!(fitted.omitted_turns, 0);
        assert_eq!(fitted.messages.len(), 1 + 5 * 4 + 1);
        assert!((5_000..6_000).contains(&fitted.tokens), "{}", fitted.tokens);
    }

    #[test]
    fn the_oldest_turns_are_left_out_whole() {
        let history = History::new(&spec(4_000), &[], &conversation(5), 0);
        let fitted = history.fit();
        assert_eq!(fitted.omitted_turns, 3);
        assert!(matches!(fitted.messages[0], ChatMessage::System { .. }));
        assert_eq!(fitted.messages[1], &ChatMessage::User { content: "question 4".into() });
        assert!(fitted.tokens <= 3_000);
        let calls =
            fitted.messages.iter().filter(|m| matches!(m, ChatMessage::Assistant { tool_calls, .. } if !tool_calls.is_empty()));
        let results = fitted.messages.iter().filter(|m| matches!(m, ChatMessage::Tool { .. }));
        assert_eq!(calls.count(), results.count());
    }

    #[test]
    fn a_model_that_wants_its_reasoning_back_gets_it_with_every_call() {
        let data = ProviderData { model: String::new(), json: r#"{"reasoning_content":null}"#.into() };
        let thought = Part::Reasoning { text: "hm".into(), provider_data: Some(data) };
        let mut messages = conversation(1);
        messages.push(message(3, Role::Assistant, vec![thought, Part::tool_call("d", "t", "{}")]));
        messages.push(message(4, Role::User, vec![Part::text("and now")]));
        let history = History::new(&spec(100_000), &[], &messages, 0);
        let text = serde_json::to_string(&history.fit().messages).unwrap_or_default();
        assert_eq!(text.matches(r#""reasoning_content":"hm""#).count(), 1, "{text}");
        assert_eq!(text.matches(r#""reasoning_content":"""#).count(), 1, "{text}");
        let before = History::new(&spec(100_000), &[], &conversation(2), 0);
        assert!(!serde_json::to_string(&before.fit().messages).unwrap_or_default().contains("reasoning_content"));
    }

    /// What is read of a conversation whose pages have `page` messages, the newest first, and how many turns are left unread.
    fn read_back(window: &Window, whole: &[Message], page: usize) -> (Vec<Message>, u64) {
        let (mut read, mut left) = (Vec::new(), whole);
        while !left.is_empty() && !window.is_full(&read) {
            let (older, newer) = left.split_at(left.len().saturating_sub(page));
            runmesh_domain::message::add_older(&mut read, newer.to_vec());
            left = older;
        }
        let unread = if left.is_empty() { 0 } else { read[0].turn_number - 1 };
        (read, unread)
    }

    #[test]
    fn reading_back_until_the_window_is_full_gives_the_prompt_of_the_whole() {
        for (tokens, turns, page) in (0..9).flat_map(|turns| [(4_000, turns, 1), (4_000, turns, 3), (8_000, turns, 2)]) {
            let (spec, whole) = (spec(tokens), conversation(turns));
            let (read, unread) = read_back(&Window::new(&spec, &[]), &whole, page);
            let (all, some) = (History::new(&spec, &[], &whole, 0), History::new(&spec, &[], &read, unread));
            let (all, some) = (all.fit(), some.fit());
            assert_eq!((all.messages, all.omitted_turns), (some.messages, some.omitted_turns), "{tokens} {turns} {page}");
        }
    }

    #[test]
    fn what_is_read_does_not_grow_with_the_thread() {
        let window = Window::new(&spec(4_000), &[]);
        let read = |turns| read_back(&window, &conversation(turns), 2).0.len();
        assert_eq!(read(300), read(1_000));
        assert!(read(300) < 12);
    }

    #[test]
    fn the_own_turn_is_never_cut() {
        let long = message(7, Role::User, vec![Part::text("x".repeat(50_000))]);
        let history = History::new(&spec(1_000), &[], &[turn(6).to_vec(), vec![long]].concat(), 0);
        let fitted = history.fit();
        assert_eq!(fitted.omitted_turns, 1);
        assert_eq!(fitted.messages.len(), 2);
    }
}
