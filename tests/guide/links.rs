//! Links lead somewhere, and the guide has all its pages.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};

use crate::pages::{Page, all, root};

/// Where a link on this page leads, from the root.
fn target(page: &str, link: &str) -> String {
    let mut path: PathBuf = Path::new(page).parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.display().to_string()
}

/// Why a link leads nowhere.
fn broken(pages: &BTreeMap<String, Page>, page: &str, link: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { target(page, path) };
    if !root().join(&target).exists() {
        return Some(format!("{page}: {link} leads to {target}, which is not there"));
    }
    let known = |page: &Page| anchor.is_empty() || page.anchors.contains(anchor);
    match pages.get(&target) {
        Some(found) if !known(found) => Some(format!("{page}: {link}: {target} has no heading #{anchor}")),
        None if !anchor.is_empty() => Some(format!("{page}: {link}: {target} is no page, so #{anchor} names nothing")),
        _ => None,
    }
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let pages = all()?;
    let links = || pages.iter().flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)));
    ensure!(links().count() > 100, "only {} links", links().count());
    let broken: Vec<String> = links().filter_map(|(path, link)| broken(&pages, path, link)).collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn the_summary_has_every_page_once() -> Result<()> {
    let pages = all()?;
    let mut listed: BTreeMap<String, usize> = BTreeMap::new();
    for link in &pages["docs/SUMMARY.md"].links {
        *listed.entry(target("docs/SUMMARY.md", link)).or_default() += 1;
    }
    let of_guide = pages.keys().filter(|path| path.starts_with("docs/") && *path != "docs/SUMMARY.md");
    let missing: Vec<_> = of_guide.filter(|path| !listed.contains_key(*path)).collect();
    ensure!(
        missing.is_empty(),
        "docs/SUMMARY.md lacks {missing:?}: add a line `- [Title](PATH)` where a reader would look for it"
    );
    let often: Vec<_> = listed.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(often.is_empty(), "docs/SUMMARY.md has these more than once: {often:?}");
    Ok(())
}

#[test]
fn every_picture_is_shown() -> Result<()> {
    let pages = all()?;
    for picture in std::fs::read_dir(root().join("docs/images"))? {
        let path = format!("docs/images/{}", picture?.file_name().display());
        let shown = |(page, found): (&String, &Page)| found.links.iter().any(|link| target(page, link) == path);
        ensure!(pages.iter().any(shown), "no page shows {path}");
    }
    Ok(())
}

#[test]
fn a_broken_link_is_found() {
    let page = Page::of("# There\n\n[a](#there)".to_owned());
    let pages = BTreeMap::from([("docs/SUMMARY.md".to_owned(), page)]);
    let broken = |link| broken(&pages, "docs/SUMMARY.md", link);
    for right in ["#there", "https://example.com/x#y", "../README.md", "images/workloads.png"] {
        assert_eq!(broken(right), None);
    }
    for (wrong, why) in [("#else", "no heading"), ("nowhere.md", "not there"), ("images/workloads.png#x", "no page")] {
        assert!(broken(wrong).is_some_and(|told| told.contains(why)), "{wrong}");
    }
}
