//! What drives a browser.

use std::path::PathBuf;

use anyhow::Result;

use crate::tools;

/// The folder with `playwright-core` and `axe-core`, installed by `tools/browser/fetch` unless they are there, with Debian's chromium.
pub async fn browser_tools() -> Result<PathBuf> {
    tools::installed("browser/fetch").await
}
