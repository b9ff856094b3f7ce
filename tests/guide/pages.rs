//! The pages as a reader's program understands them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page, by what is checked of it.
#[derive(Debug, Default)]
pub struct Page {
    /// Where links and images lead.
    pub links: Vec<String>,
    /// What `#...` may name.
    pub anchors: BTreeSet<String>,
    /// Code within a line.
    pub codes: Vec<String>,
    /// Blocks of code, with their language.
    pub blocks: Vec<(String, String)>,
    /// All of it.
    pub text: String,
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages for readers, by their paths from the root.
pub fn all() -> Result<BTreeMap<String, Page>> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from).into();
    for folder in ["docs", "deploy"] {
        find(Path::new(folder), &mut paths)?;
    }
    paths.into_iter().map(|path| Ok((path.display().to_string(), Page::read(&path)?))).collect()
}

/// Those that tell users what to type and to look at: not the record of what was, nor that of why.
pub fn of_users() -> Result<BTreeMap<String, Page>> {
    let mut pages = all()?;
    let records = ["CHANGELOG.md", "CONTRIBUTING.md", "docs/benchmarks.md", "docs/decisions/", "docs/reference/"];
    pages.retain(|path, _| !records.iter().any(|record| path.starts_with(record)));
    Ok(pages)
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root().join(folder)).with_context(|| format!("can't list {}", folder.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            find(&path, paths)?;
        } else if path.extension().is_some_and(|end| end == "md") {
            paths.push(path);
        }
    }
    Ok(())
}

impl Page {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(root().join(path)).with_context(|| format!("can't read {}", path.display()))?;
        Ok(Self::of(text))
    }

    /// The page of this text.
    pub fn of(text: String) -> Self {
        let mut page = Self::default();
        let (mut heading, mut block): (Option<String>, Option<(String, String)>) = (None, None);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => "sh".to_owned(),
                    };
                    block = Some((language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) => match (&mut block, &mut heading) {
                    (Some((_, block)), _) => block.push_str(&text),
                    (None, Some(heading)) => heading.push_str(&text),
                    (None, None) => {}
                },
                Event::Code(code) => {
                    heading.iter_mut().for_each(|heading| heading.push_str(&code));
                    page.codes.push(code.into_string());
                }
                _ => {}
            }
        }
        page.text = text;
        page
    }

    /// As GitHub and mdBook name a heading.
    fn add_anchor(&mut self, heading: &str) {
        let name = heading.trim().to_lowercase();
        let kept = name.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let name: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let (mut unique, mut number) = (name.clone(), 0);
        while !self.anchors.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}-{number}");
        }
    }
}

#[test]
fn a_page_is_understood() {
    let text =
        "# A `b` c: d_e?\n\n## Same\n\n## Same\n\n[x](y.md#z) ![i](i.png) `code`\n\n```sh\nrun me\n```\n\n    and me\n";
    let page = Page::of(text.to_owned());
    assert_eq!(page.anchors, ["a-b-c-d_e", "same", "same-1"].map(str::to_owned).into());
    assert_eq!(page.links, ["y.md#z", "i.png"]);
    assert_eq!(page.codes, ["b", "code"]);
    assert_eq!(page.blocks, [("sh".to_owned(), "run me\n".to_owned()), ("sh".to_owned(), "and me\n".to_owned())]);
}
