//! `plimsoll reference FOLDER`: the reference pages of the guide, made of the program itself, so that they say what it does.
//!
//! `flags` are those of clap's command tree, `metrics` those that the parts register, `api` is the OpenAPI document.

mod api;
mod flags;
mod metrics;

use std::path::Path;

use anyhow::{Context as _, Result};

/// Begins each page.
const MADE: &str = "<!-- Made by `make reference` from the program: change its texts, not this file. -->\n\n";

/// Writes all pages into this folder, which is made if it is not there.
///
/// # Errors
/// Where a page can't be made or written.
pub fn write(command: &clap::Command, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
    let api = api::page(&plimsoll_manager::openapi());
    for (name, page) in [("flags.md", flags::page(command)), ("metrics.md", metrics::page()?), ("api.md", api)] {
        let path = folder.join(name);
        let page = format!("{MADE}{}\n", page.trim_end());
        std::fs::write(&path, page).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// A text as a cell of a table: on one line, with nothing in it that Markdown would take for its own.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let parts = words.join(" ");
    let parts = parts.split('`').enumerate().map(|(at, part)| {
        let part = part.replace('|', "\\|");
        // Between backticks all is taken as it is.
        if at % 2 == 1 { part } else { part.replace('<', "&lt;").replace('*', "\\*") }
    });
    parts.collect::<Vec<_>>().join("`")
}

/// As code in a cell; nothing for nothing.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_and_breaks_no_table() {
        assert_eq!(cell("a | b\n  c"), "a \\| b c");
        assert_eq!(cell("X-Forwarded-* of <NAME>, as `a*<b>|c`"), "X-Forwarded-\\* of &lt;NAME>, as `a*<b>\\|c`");
        assert_eq!((code(""), code("a|b").as_str()), (String::new(), "`a\\|b`"));
    }
}
