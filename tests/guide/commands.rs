//! Every `plimsoll ...` in the guide can be typed so.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::pages::of_users;
use crate::program;

/// The commands of a shell's text that run our program, each as its arguments.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        for words in simple_commands(line) {
            let program = |word: &String| word == "plimsoll" || word.ends_with("/plimsoll");
            // What stands before it are variables for it, or a command that runs it.
            if let Some(at) = words.iter().position(program) {
                let before = words[..at].iter().all(|word| word.contains('=') || word == "source" || word == "<(");
                let rest = &words[at + 1..];
                // What more there is to say.
                let rest = rest.strip_suffix(&["...".to_owned()]).unwrap_or(rest);
                found.extend(before.then(|| rest.to_vec()));
            }
        }
    }
    found
}

/// A line's simple commands as words: split at `|`, `;`, `&`, `)`, `>` outside of quotation marks, without the comment.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(mark), _) if letter == mark => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | ')' | '>') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, '(') => words.extend(word.take().map(|word| format!("{word}("))),
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    all.push(words);
    all
}

#[test]
fn commands_are_found() {
    let text = "FOO=1 target/release/plimsoll dev --replica-command 'a | b {port}'  # plimsoll no\n\
                plimsoll crds | kubectl apply -f -\nhelm install plimsoll x\n\
                plimsoll ctl \\\n  topics\nsource <(plimsoll completions bash)\n";
    let found = commands(text);
    let expected: [&[&str]; 4] =
        [&["dev", "--replica-command", "a | b {port}"], &["crds"], &["ctl", "topics"], &["completions", "bash"]];
    assert_eq!(found, expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
}

#[tokio::test]
async fn every_command_can_be_typed() -> Result<()> {
    let mut asked: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for (path, page) in of_users()? {
        let blocks = page.blocks.iter().filter(|(language, _)| language == "sh").map(|(_, block)| block);
        let inline = page.codes.iter().filter(|code| code.starts_with("plimsoll "));
        for command in blocks.chain(inline).flat_map(|text| commands(text)) {
            asked.entry(command).or_insert_with(|| path.clone());
        }
    }
    ensure!(asked.len() > 40, "{asked:?}");
    for (command, path) in asked {
        // With --help at the end everything before it is read, and nothing is done.
        let whole = [&command[..], &["--help".to_owned()]].concat();
        let ended = program::run(&whole).await?;
        ensure!(ended.success, "{path}: plimsoll {}: {}", command.join(" "), ended.stderr);
    }
    for wrong in [["ctl", "frobnicate"], ["manager", "--no-such-flag"]] {
        let whole = [&wrong[..], &["--help"]].concat();
        ensure!(!program::run(&whole).await?.success, "{wrong:?} is taken, so this test shows nothing");
    }
    Ok(())
}
