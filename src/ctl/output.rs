//! Writes answers.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

/// How answers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// The API's own JSON; with --watch and --follow one document a line.
    Json,
    /// The same as YAML; with --watch and --follow documents end with `---`.
    Yaml,
}

/// Standard output.
pub struct Output {
    format: Format,
    /// Whether one answer follows another.
    many: bool,
}

impl Output {
    pub fn new(format: Format, many: bool) -> Self {
        Self { format, many }
    }

    /// As this, for answers that follow one another.
    pub fn many(&self) -> Self {
        Self { format: self.format, many: true }
    }

    /// Whether people read it.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// An answer in the form that was asked for.
    pub fn shown<T: Serialize>(&self, answer: &T, table: impl FnOnce(&T) -> String) -> Result<String> {
        let mut text = match self.format {
            Format::Table => table(answer),
            Format::Json if self.many => serde_json::to_string(answer)?,
            Format::Json => serde_json::to_string_pretty(answer)?,
            Format::Yaml => serde_saphyr::to_string(answer)?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if self.many && self.format == Format::Yaml {
            text.push_str("---\n");
        }
        Ok(text)
    }

    /// Writes. A reader that has gone (`| head`) is no error.
    pub fn write(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            outcome => outcome.context("can't write to standard output"),
        }
    }

    /// Writes in place of what was there before, where people look at it.
    pub fn write_anew(&self, text: &str) -> Result<()> {
        // Home and clear to the end of the screen: no flicker.
        let clear = self.format == Format::Table && std::io::stdout().is_terminal();
        self.write(&if clear { format!("\x1b[H\x1b[2J{text}") } else { text.to_owned() })
    }
}
