//! What a person does while a run is shown: Esc, Ctrl-C, signals. Puts the terminal back on every path.

use crate::cli::signals::Signals;
use crate::failure::Failure;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use futures::StreamExt as _;

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// End the run.
    Cancel,
    /// Leave; the run goes on.
    Leave,
}

/// Where keys and signals come from.
pub struct Keys<'a> {
    signals: &'a mut Signals,
    terminal: Option<Terminal>,
}

/// A terminal that gives out single keys for as long as this lives.
struct Terminal {
    events: EventStream,
    _raw: RawMode,
}

/// Raw mode, until dropped: at the end, after an error, and when a panic unwinds.
struct RawMode;

impl RawMode {
    fn enter() -> std::io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _gone = disable_raw_mode();
    }
}

impl<'a> Keys<'a> {
    /// Signals only.
    pub const fn of_signals(signals: &'a mut Signals) -> Self {
        Self { signals, terminal: None }
    }

    /// Signals, and the terminal's keys.
    pub fn of_terminal(signals: &'a mut Signals) -> Result<Self, Failure> {
        let raw = RawMode::enter().map_err(|error| Failure::refused(format!("cannot read keys: {error}")))?;
        Ok(Self { signals, terminal: Some(Terminal { events: EventStream::new(), _raw: raw }) })
    }

    /// True while lines must end in a carriage return too.
    pub const fn is_raw(&self) -> bool {
        self.terminal.is_some()
    }

    /// The next key that means something.
    pub async fn next(&mut self) -> Key {
        let Some(terminal) = &mut self.terminal else {
            self.signals.leave().await;
            return Key::Leave;
        };
        tokio::select! {
            () = self.signals.leave() => Key::Leave,
            key = terminal.key() => key,
        }
    }
}

impl Terminal {
    async fn key(&mut self) -> Key {
        loop {
            match self.events.next().await {
                Some(Ok(Event::Key(event))) => {
                    if let Some(key) = meaning(event) {
                        return key;
                    }
                }
                Some(Ok(_)) => {}
                // The terminal is gone, and the person with it.
                Some(Err(_)) | None => return Key::Leave,
            }
        }
    }
}

fn meaning(event: KeyEvent) -> Option<Key> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        _ if event.kind == KeyEventKind::Release => None,
        KeyCode::Esc => Some(Key::Cancel),
        KeyCode::Char('c') if control => Some(Key::Leave),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_mean_something() {
        let key = |code, modifiers| meaning(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Key::Cancel));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Leave));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }
}
