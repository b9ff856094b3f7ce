//! What the guide and the Grafana dashboard name is there: metrics, flags, variables, calls, `make` targets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::pages::{of_users, root};
use crate::reference::{families, paths, settings};

/// Crates: targets of log filters are called after them.
const CRATES: [&str; 5] =
    ["plimsoll_interceptor", "plimsoll_collector", "plimsoll_manager", "plimsoll_scheduler", "plimsoll_wire"];

/// Flags that are not ours, or anybody's: of kubectl, cargo, Docker Compose, of clap itself, and for examples.
const FOREIGN: [&str; 8] =
    ["--flag", "--help", "--version", "--ignored", "--nocapture", "--release", "--server-side", "--scale"];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
}

/// The names of series in a text.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let ours = |word: &&str| word.starts_with("interceptor_") || word.starts_with("plimsoll_");
    words(text).filter(ours).filter(|word| !CRATES.contains(word))
}

/// All series that Prometheus has of us.
fn series() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for (name, family) in families()? {
        if family.kind == "histogram" {
            all.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
        all.insert(name);
    }
    Ok(all)
}

#[test]
fn every_metric_that_is_named_is_there() -> Result<()> {
    let there = series()?;
    let mut texts: Vec<(String, String)> = of_users()?.into_iter().map(|(path, page)| (path, page.text)).collect();
    let dashboard = "deploy/helm/plimsoll/dashboards/plimsoll.json";
    texts.push((dashboard.to_owned(), fs::read_to_string(root().join(dashboard))?));
    let mut wrong = Vec::new();
    let mut named = 0;
    for (path, text) in &texts {
        for name in metrics(text) {
            named += 1;
            if !there.contains(name) {
                wrong.push(format!("{path}: {name}"));
            }
        }
    }
    ensure!(named > 100, "only {named} are named");
    ensure!(wrong.is_empty(), "nobody has these; docs/reference/metrics.md has all:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_flag_and_variable_that_is_named_is_there() -> Result<()> {
    let (flags, variables) = settings()?;
    let mut wrong = Vec::new();
    let mut named = 0;
    for (path, page) in of_users()? {
        for code in page.codes.iter().filter(|code| flags_in(code).next().is_some_and(|flag| code.starts_with(flag))) {
            named += 1;
            let flag = code.split([' ', '=']).next().unwrap_or_default();
            if !flags.contains(flag) && !FOREIGN.contains(&flag) {
                wrong.push(format!("{path}: {flag}"));
            }
        }
        // `PLIMSOLL_...` stands for any of them.
        let ours = words(&page.text).filter(|word| word.starts_with("PLIMSOLL_") && word.len() > "PLIMSOLL_".len());
        wrong.extend(ours.filter(|word| !variables.contains(*word)).map(|word| format!("{path}: {word}")));
    }
    ensure!(named > 100, "only {named} are named");
    ensure!(wrong.is_empty(), "the program has no such flags or variables:\n{}", wrong.join("\n"));
    Ok(())
}

/// All flags that a source names, in messages and comments.
fn flags_in(source: &str) -> impl Iterator<Item = &str> {
    source.match_indices("--").filter_map(|(at, _)| {
        let (before, after) = (source[..at].chars().next_back(), &source[at + 2..]);
        let name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let end = after.find(|letter: char| !name(letter)).unwrap_or(after.len());
        let alone = !before.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_');
        let flag = source[at..at + 2 + end].trim_end_matches('-');
        (alone && after.starts_with(|letter: char| letter.is_ascii_lowercase())).then_some(flag)
    })
}

#[test]
fn every_flag_that_a_message_names_is_there() -> Result<()> {
    let (flags, _) = settings()?;
    let mut sources = Vec::new();
    for folder in ["src", "wire/src", "cluster/src", "interceptor/src", "collector/src", "scheduler/src", "manager/src"]
    {
        sources_in(&root().join(folder), &mut sources)?;
    }
    let mut wrong = Vec::new();
    let mut named = 0;
    for path in sources {
        for flag in flags_in(&fs::read_to_string(&path)?) {
            named += 1;
            if !flags.contains(flag) && !FOREIGN.contains(&flag) {
                wrong.push(format!("{}: {flag}", path.display()));
            }
        }
    }
    ensure!(named > 100, "only {named} are named");
    ensure!(wrong.is_empty(), "the program has no such flags:\n{}", wrong.join("\n"));
    Ok(())
}

fn sources_in(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources_in(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a path fits one with braces.
fn fits(template: &str, path: &str) -> bool {
    let (mut open, mut given) = (template.split('/'), path.split('/'));
    template.matches('/').count() == path.matches('/').count()
        && open.by_ref().zip(given.by_ref()).all(|(open, given)| open.starts_with('{') || open == given)
}

#[test]
fn every_call_that_is_named_is_there() -> Result<()> {
    let there = paths()?;
    let mut wrong = Vec::new();
    let mut named = 0;
    for (path, page) in of_users()? {
        for (at, _) in page.text.match_indices("/api/v1/") {
            let text = &page.text[at..];
            let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && !"/{}-_.".contains(letter));
            let call = text[..end.unwrap_or(text.len())].trim_end_matches(['/', '.']);
            named += 1;
            if call != "/api/v1" && !there.iter().any(|template| fits(template, call)) {
                wrong.push(format!("{path}: {call}"));
            }
        }
    }
    ensure!(named > 10, "only {named} are named");
    ensure!(wrong.is_empty(), "the API has no such calls:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_annotation_that_is_named_is_known() -> Result<()> {
    let mut sources = Vec::new();
    for folder in ["src", "wire/src", "cluster/src", "scheduler/src", "manager/src"] {
        sources_in(&root().join(folder), &mut sources)?;
    }
    let sources = sources.iter().map(fs::read_to_string).collect::<std::io::Result<String>>()?;
    let mut wrong = Vec::new();
    let mut named = 0;
    for (path, page) in of_users()? {
        for (at, _) in page.text.match_indices("plimsoll.io/") {
            let rest = &page.text[at + "plimsoll.io/".len()..];
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-').unwrap_or(rest.len());
            named += 1;
            let name = format!("plimsoll.io/{}", &rest[..end]);
            if !sources.contains(&name) {
                wrong.push(format!("{path}: {name}"));
            }
        }
    }
    ensure!(named > 20, "only {named} are named");
    ensure!(wrong.is_empty(), "nothing reads these annotations and labels:\n{}", wrong.join("\n"));
    Ok(())
}

/// Variables of the KEDA HTTP Add-on that a text names in full.
fn of_the_addon(text: &str) -> BTreeSet<&str> {
    words(text).filter(|word| word.starts_with("KEDA_") && !word.ends_with('_')).collect()
}

#[test]
fn the_variables_of_the_addon_are_told() -> Result<()> {
    let mut sources = Vec::new();
    for folder in ["src", "interceptor/src"] {
        sources_in(&root().join(folder), &mut sources)?;
    }
    let sources = sources.iter().map(fs::read_to_string).collect::<std::io::Result<String>>()?;
    let told = fs::read_to_string(root().join("docs/migrate-from-keda-http-add-on.md"))?;
    let (taken, told) = (of_the_addon(&sources), of_the_addon(&told));
    ensure!(taken.len() > 10, "{taken:?}");
    ensure!(taken == told, "the program takes {taken:?}; docs/migrate-from-keda-http-add-on.md has {told:?}");
    Ok(())
}

#[test]
fn every_make_target_that_is_named_is_there() -> Result<()> {
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    let there = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let mut named = 0;
    for (path, page) in crate::pages::all()? {
        let blocks = page.blocks.iter().flat_map(|(_, block)| block.lines());
        for code in page.codes.iter().map(String::as_str).chain(blocks) {
            let Some(target) = code.strip_prefix("make ").and_then(|rest| rest.split([' ', ',']).next()) else {
                continue;
            };
            named += 1;
            ensure!(there(target), "{path}: there is no `make {target}`");
        }
    }
    ensure!(named > 5, "only {named} are named");
    Ok(())
}
