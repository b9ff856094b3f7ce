//! `docs/reference/` is what the program says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::Folder;

use crate::pages::{Page, root};

/// The pages as the program makes them, by name. No variable of whoever runs this gets into them.
fn made() -> Result<BTreeMap<String, String>> {
    let folder = Folder::new("reference")?;
    let into = folder.join("pages");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let ended = command.env_clear().arg("reference").arg(&into).output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(&into)? {
        let path = entry?.path();
        let name = path.file_name().context("no name")?.display().to_string();
        pages.insert(name, fs::read_to_string(&path)?);
    }
    Ok(pages)
}

/// Set by `make reference`: write the pages anew in place of comparing them.
const UPDATE: &str = "PLIMSOLL_UPDATE_REFERENCE";

#[test]
fn the_reference_is_what_the_program_says() -> Result<()> {
    let made = made()?;
    ensure!(made.len() == 3, "{:?}", made.keys());
    let kept = root().join("docs/reference");
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&kept)?;
        made.iter().try_for_each(|(name, page)| fs::write(kept.join(name), page))?;
    }
    for (name, made) in &made {
        let kept = fs::read_to_string(kept.join(name)).unwrap_or_default();
        let differs = made.lines().zip(kept.lines().chain(std::iter::repeat(""))).find(|(made, kept)| made != kept);
        ensure!(*made == kept, "docs/reference/{name} is stale (first at {differs:?}): run `make reference`");
    }
    let there: BTreeSet<_> =
        fs::read_dir(kept)?.map(|entry| Ok(entry?.file_name().display().to_string())).collect::<Result<_>>()?;
    ensure!(there == made.keys().cloned().collect(), "docs/reference has other pages: {there:?}");
    Ok(())
}

/// The rows of all tables on a page of the reference, cell by cell.
fn rows(name: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(root().join("docs/reference").join(name))?;
    // A stroke within a cell is written `\|`.
    let apart = text.lines().filter(|line| line.starts_with("| ")).map(|line| line.replace("\\|", "\u{1}"));
    let cells =
        |line: String| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
    Ok(apart.map(cells).collect())
}

/// A series of the reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// As Prometheus calls it.
    pub kind: String,
    /// Its labels.
    pub labels: BTreeSet<String>,
}

/// All families of the reference by name.
pub fn families() -> Result<BTreeMap<String, Series>> {
    let mut families = BTreeMap::new();
    for row in rows("metrics.md")? {
        let [name, kind, labels, _] = row.as_slice() else { continue };
        if let Some(name) = code(name) {
            let labels = labels.split(", ").filter_map(code).map(str::to_owned).collect();
            families.insert(name.to_owned(), Series { kind: kind.clone(), labels });
        }
    }
    ensure!(families.len() > 50, "{families:?}");
    Ok(families)
}

/// All flags and environment variables of the reference.
pub fn settings() -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for row in rows("flags.md")? {
        let [spelling, variable, ..] = row.as_slice() else { continue };
        let words = code(spelling).unwrap_or_default().split([' ', ',']);
        flags.extend(words.filter(|word| word.starts_with('-')).map(str::to_owned));
        variables.extend(code(variable).map(str::to_owned));
    }
    ensure!(flags.len() > 100 && variables.len() > 80, "{flags:?} {variables:?}");
    Ok((flags, variables))
}

/// All paths of the API, with what differs in braces.
pub fn paths() -> Result<BTreeSet<String>> {
    let page = Page::of(fs::read_to_string(root().join("docs/reference/api.md"))?);
    let calls = page.codes.iter().filter_map(|code| code.split_once(" /").map(|(_, path)| format!("/{path}")));
    let paths: BTreeSet<String> = calls.collect();
    ensure!(paths.len() > 15, "{paths:?}");
    Ok(paths)
}

fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}
