//! Who may do what: the bearer tokens of a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A shorter token could be guessed in the end.
const TOKEN_LEN: usize = 16;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look, and try plans out.
    Read,
    /// Change things too.
    Operate,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
        })
    }
}

/// Why tokens can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTokens {
    /// The file can't be read.
    #[error("can't read the tokens in {} (--api-token-file): {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A line is wrong. Its text is not shown: it may be a token.
    #[error("{} line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The tokens in force, and the file that they are read from again when it changes.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    /// Of this process only: what is kept in memory is of no use elsewhere.
    key: hmac::Key,
    known: ArcSwap<Vec<Known>>,
    /// Of the file as it was read first.
    mark: Vec<u8>,
}

/// One token, hashed.
#[derive(Debug)]
struct Known {
    role: Role,
    name: Arc<str>,
    tag: hmac::Tag,
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self, BadTokens> {
        let text = read(path)?;
        let unreadable = |reason: &str| BadTokens::Unreadable { path: path.to_owned(), reason: reason.to_owned() };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| unreadable("the system gives no random numbers to hash them with"))?;
        let known = ArcSwap::from_pointee(parse(path, &text, &key)?);
        let mark = hmac::sign(&key, text.as_bytes()).as_ref().to_vec();
        Ok(Self { path: path.to_owned(), key, known, mark })
    }

    /// Whose token this is, and what it is good for. All tokens are compared, each in constant time, so time tells nothing.
    #[must_use]
    pub fn whose(&self, token: &str) -> Option<(Arc<str>, Role)> {
        let known = self.known.load();
        known.iter().fold(None, |found, one| {
            let same = hmac::verify(&self.key, token.as_bytes(), one.tag.as_ref()).is_ok();
            if same { Some((one.name.clone(), one.role)) } else { found }
        })
    }

    /// Reads the file again when it has changed, until shutdown. A file that is wrong changes nothing.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut before = Ok(self.mark.clone());
        loop {
            let path = self.path.clone();
            // A file system that hangs holds a thread for blocking calls, and no other.
            let text = tokio::task::spawn_blocking(move || read(&path)).await;
            let text = text.unwrap_or_else(|gone| {
                Err(BadTokens::Unreadable { path: self.path.clone(), reason: gone.to_string() })
            });
            let now = text.as_ref().map(|text| hmac::sign(&self.key, text.as_bytes()).as_ref().to_vec());
            let now = now.map_err(Clone::clone);
            if now != before {
                self.take(&text);
                before = now;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn take(&self, text: &Result<String, BadTokens>) {
        let parsed = text.clone().and_then(|text| parse(&self.path, &text, &self.key));
        match parsed {
            Ok(known) => {
                info!(tokens = known.len(), "the API's tokens have been read again");
                self.known.store(Arc::new(known));
            }
            Err(error) => warn!("{error}; the tokens from before still count"),
        }
    }
}

fn read(path: &Path) -> Result<String, BadTokens> {
    std::fs::read_to_string(path)
        .map_err(|error| BadTokens::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

fn parse(path: &Path, text: &str, key: &hmac::Key) -> Result<Vec<Known>, BadTokens> {
    let mut known = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason| BadTokens::Line { path: path.to_owned(), line: at + 1, reason };
        let mut parts = line.splitn(3, ':');
        let (role, name, token) = (parts.next(), parts.next(), parts.next());
        let role = match role {
            Some("read") => Role::Read,
            Some("operate") => Role::Operate,
            _ => return Err(wrong("write ROLE:NAME:TOKEN, the role being read or operate")),
        };
        let (Some(name), Some(token)) = (name.filter(|name| !name.is_empty()), token) else {
            return Err(wrong("write ROLE:NAME:TOKEN; the name says in the log who it was"));
        };
        if token.len() < TOKEN_LEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("a token has 16 or more letters, digits or signs, as from `openssl rand -hex 32`"));
        }
        known.push(Known { role, name: Arc::from(name), tag: hmac::sign(key, token.as_bytes()) });
    }
    if known.is_empty() {
        return Err(BadTokens::Line {
            path: path.to_owned(),
            line: 1,
            reason: "there is no token in it: write ROLE:NAME:TOKEN",
        });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ADA: &str = "0123456789abcdef0123";
    const BOB: &str = "fedcba9876543210:with:colons";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_token_says_who_and_what_for() {
        let (_folder, path) = file(&format!("# people\n\noperate:ada:{ADA}\n  read:bob:{BOB}\n"));
        let tokens = Tokens::read(&path).unwrap();
        assert_eq!(tokens.whose(ADA), Some(("ada".into(), Role::Operate)));
        assert_eq!(tokens.whose(BOB), Some(("bob".into(), Role::Read)));
        for wrong in ["", "0123456789abcdef012", "0123456789abcdef01234"] {
            assert_eq!(tokens.whose(wrong), None);
        }
        assert!(!format!("{tokens:?}").contains(ADA), "no token in what is logged");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_never_shown() {
        for (text, line) in [
            (format!("operate:ada:{ADA}\nroot:eve:{ADA}"), 2),
            (format!("operate::{ADA}"), 1),
            ("operate:ada".to_owned(), 1),
            ("\noperate:ada:tooshort".to_owned(), 2),
            (String::new(), 1),
        ] {
            let (_folder, path) = file(&text);
            let error = Tokens::read(&path).unwrap_err();
            assert!(matches!(&error, BadTokens::Line { line: at, .. } if *at == line), "{error}");
            assert!(!error.to_string().contains(ADA) && !error.to_string().contains("tooshort"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_read_again_and_a_bad_file_changes_nothing() {
        let (_folder, path) = file(&format!("operate:ada:{ADA}"));
        let tokens = Arc::new(Tokens::read(&path).unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(tokens.clone().follow(stop.clone()));
        let settle = async || {
            // Blocking calls do not stop the paused clock from moving on: a few rounds are enough for one.
            for _ in 0..50 {
                tokio::time::sleep(LOOK_EVERY).await;
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
        };
        settle().await;
        std::fs::write(&path, "nonsense").unwrap();
        settle().await;
        assert!(tokens.whose(ADA).is_some(), "a bad file changes nothing");
        std::fs::remove_file(&path).unwrap();
        settle().await;
        assert!(tokens.whose(ADA).is_some(), "nor does one that is gone");
        std::fs::write(&path, format!("read:bob:{BOB}")).unwrap();
        settle().await;
        assert_eq!(tokens.whose(ADA), None, "what is not there any more is good for nothing");
        assert!(tokens.whose(BOB).is_some());
        stop.cancel();
        task.await.unwrap();
    }
}
