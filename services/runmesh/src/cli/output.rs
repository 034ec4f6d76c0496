//! Standard output: lines for people, JSON for programs. Never panics when the reader is gone.

use prost::Message;
use runmesh_wire::json;
use serde_json::Value;
use std::io::{self, Write as _};

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// True when JSON is wanted.
    pub json: bool,
}

impl Output {
    /// Prints one line.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Prints one JSON object on one line.
    pub fn value(self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// Prints the message `name` as JSON when JSON is wanted, and says whether it did.
    pub fn took<M: Message>(self, name: &str, message: &M) -> io::Result<bool> {
        if self.json {
            self.value(&json::of(name, message))?;
        }
        Ok(self.json)
    }

    /// Prints a list of messages `name` as one JSON object `{key: [...]}` when JSON is wanted, and says whether it did.
    pub fn took_list<M: Message>(self, key: &str, name: &str, messages: &[M]) -> io::Result<bool> {
        if self.json {
            let list = messages.iter().map(|message| json::of(name, message)).collect();
            self.value(&Value::Object([(key.to_owned(), Value::Array(list))].into_iter().collect()))?;
        }
        Ok(self.json)
    }
}
