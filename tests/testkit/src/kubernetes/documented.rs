//! Permissions as the guides show them, so that what is tested is what is written.

use anyhow::{Context, Result};

/// The rules of a Role as a guide shows them: those of the first YAML block after this text, for
/// [`ApiServer::service_account`](super::ApiServer::service_account).
pub fn documented_rules(guide: &str, whose: &str) -> Result<String> {
    let (_, after) = guide.split_once(whose).with_context(|| format!("the guide does not say {whose:?}"))?;
    let rules = after.split_once("```yaml\nrules:").and_then(|(_, block)| block.split_once("```"));
    let (rules, _) = rules.with_context(|| format!("the guide shows no rules after {whose:?}"))?;
    Ok(rules.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::documented_rules;

    #[test]
    fn the_rules_are_those_of_the_block_that_follows() {
        let guide = "A manager:\n\n```yaml\nrules:\n  - a\n```\n\nA collector:\n\n```yaml\nrules:\n  - b\n```\n";
        assert_eq!(documented_rules(guide, "A manager:").unwrap(), "\n  - a");
        assert_eq!(documented_rules(guide, "A collector:").unwrap(), "\n  - b");
        assert!(documented_rules(guide, "An interceptor:").is_err());
    }
}
