//! Lines that a person or a pipe says. The terminal does the editing; keys are read singly only while a run is shown.

use crate::cli::context::Context;
use crate::cli::signals::Signals;
use crate::cli::style::Style;
use crate::failure::Failure;
use std::io::{self, IsTerminal as _, Write as _};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A line.
    Line(String),
    /// The end of the input.
    Nothing,
    /// The person leaves.
    Leave,
}

/// Standard input, line by line.
pub struct Input {
    lines: Lines<BufReader<Stdin>>,
    interactive: bool,
    style: Style,
}

impl Input {
    pub fn new(context: &Context) -> Self {
        let terminals = io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { lines: BufReader::new(stdin()).lines(), interactive: terminals && !context.output.json, style: context.style }
    }

    /// True when a person sits at both ends.
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Prompts, when there is somebody to prompt, and waits for a line.
    pub async fn next(&mut self, signals: &mut Signals) -> Result<Said, Failure> {
        if self.interactive {
            let mut out = io::stdout().lock();
            write!(out, "{} ", self.style.bold("›"))?;
            out.flush()?;
        }
        let said = tokio::select! {
            line = self.lines.next_line() => match line {
                Ok(line) => line.map_or(Said::Nothing, Said::Line),
                Err(error) => return Err(Failure::refused(format!("standard input: {error}"))),
            },
            () = signals.leave() => Said::Leave,
        };
        if self.interactive && !matches!(said, Said::Line(_)) {
            writeln!(io::stdout().lock())?;
        }
        Ok(said)
    }
}
