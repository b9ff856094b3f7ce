//! Every command with its flags, as clap knows them.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::{cell, code};

const HEAD: &str = "\
# Commands and flags

Every flag has an environment variable where one is named; the flag wins over it. Durations are written as in Go (`500ms`, `1m30s`).
`plimsoll COMMAND --help` says the same in the terminal.

";

/// The page.
pub fn page(command: &Command) -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, command, &mut Vec::new());
    page
}

/// One command, then those in it.
fn section(page: &mut String, command: &Command, above: &mut Vec<String>) {
    above.push(command.get_name().to_owned());
    let level = "#".repeat((above.len() + 1).min(6));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "{level} {}\n\n{}\n\n", above.join(" "), prose(&about));
    for (heading, arguments) in groups(command) {
        if let Some(heading) = heading {
            let _ = write!(page, "**{heading}**\n\n");
        }
        page.push_str("| | environment | default | what it does |\n|---|---|---|---|\n");
        for argument in arguments {
            row(page, argument);
        }
        page.push('\n');
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = write!(page, "```text\n{}\n```\n\n", after.to_string().trim_end());
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        section(page, inner, above);
    }
    above.pop();
}

/// The arguments by heading, in the order of their first.
fn groups(command: &Command) -> Vec<(Option<&str>, Vec<&Arg>)> {
    let mut groups: Vec<(Option<&str>, Vec<&Arg>)> = Vec::new();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let heading = argument.get_help_heading();
        match groups.iter_mut().find(|(of, _)| *of == heading) {
            Some((_, arguments)) => arguments.push(argument),
            None => groups.push((heading, vec![argument])),
        }
    }
    groups
}

fn row(page: &mut String, argument: &Arg) {
    let environment = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} |",
        code(&spelling(argument)),
        code(&environment),
        default(argument),
        cell(&format!("{}{}", prose(&help), words(argument)))
    );
}

/// How it is typed: `--flag VALUE`, or the value alone.
fn spelling(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let value = match argument.get_value_names() {
        Some(names) => names.join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    };
    let short = argument.get_short().map(|letter| format!("-{letter}, ")).unwrap_or_default();
    match argument.get_long() {
        Some(long) if takes_value => format!("{short}--{long} {value}"),
        Some(long) => format!("{short}--{long}"),
        None => value,
    }
}

fn default(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let shown = argument.get_action().takes_values() && !argument.is_hide_default_value_set();
    match values.join(" ") {
        _ if argument.is_required_set() => "needed".to_owned(),
        text if shown && !text.is_empty() => code(&text),
        _ => String::new(),
    }
}

/// What a value may be, where only few words may.
fn words(argument: &Arg) -> String {
    let flag = matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
    let all: Vec<_> = argument.get_possible_values().into_iter().filter(|_| !flag).collect();
    if all.is_empty() {
        return String::new();
    }
    // The others are spellings of these two.
    if ["true", "false"].iter().all(|word| all.iter().any(|value| value.matches(word, false))) {
        return " One of: `true`, `false`.".to_owned();
    }
    let all = all.iter().map(|value| match value.get_help() {
        Some(help) => format!("`{}` ({})", value.get_name(), help.to_string().trim_end_matches('.')),
        None => format!("`{}`", value.get_name()),
    });
    format!(" One of: {}.", all.collect::<Vec<_>>().join(", "))
}

/// clap takes the point off the end of a one-line text.
fn prose(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', ':', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}
