//! One thing has one version, wherever it is named.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

fn read(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
}

fn after<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(start));
    Ok(rest.with_context(|| format!("no line begins with {start:?}"))?.trim())
}

#[test]
fn the_settings_of_compose_name_the_versions_of_this_tree() -> Result<()> {
    let settings = read("deploy/compose/.env")?;
    ensure!(after(&settings, "PLIMSOLL_VERSION=")? == env!("CARGO_PKG_VERSION"));
    let kafka = read("tools/kafka/pom.xml")?;
    ensure!(after(&kafka, "<version>")? == format!("{}</version>", after(&settings, "KAFKA_VERSION=")?));
    let etcd = read("tools/etcd/go.mod")?;
    let etcd = after(&etcd, "go.etcd.io/etcd/server/v3 v")?;
    ensure!(etcd.split_whitespace().next() == Some(after(&settings, "ETCD_VERSION=")?), "{etcd}");
    Ok(())
}

#[test]
fn the_image_is_built_with_the_tools_of_this_tree() -> Result<()> {
    let docker = read("deploy/docker/Dockerfile")?;
    let toolchain = read("rust-toolchain.toml")?;
    let toolchain = after(&toolchain, "channel = ")?.trim_matches('"');
    ensure!(docker.contains(&format!("FROM rust:{toolchain}-bookworm AS toolchain")), "{toolchain}");
    ensure!(docker.contains(&format!("RUSTUP_TOOLCHAIN={toolchain} ")), "{toolchain}");
    Ok(())
}

#[test]
fn every_setting_of_compose_is_used_and_every_one_used_is_set() -> Result<()> {
    let settings = read("deploy/compose/.env")?;
    let files = read("deploy/compose/compose.yaml")? + &read("deploy/compose/compose.secure.yaml")?;
    let set: Vec<&str> = settings
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    ensure!(set.len() > 30, "{set:?}");
    for name in &set {
        ensure!(files.contains(&format!("${{{name}}}")), "{name} is set, and nothing uses it");
    }
    for used in files.split("${").skip(1).filter_map(|rest| rest.split_once('}')) {
        ensure!(set.contains(&used.0), "{} is used, and .env does not set it", used.0);
    }
    // What is not pinned changes by itself.
    ensure!(!files.contains(":latest"), "an image is named without its version");
    Ok(())
}
