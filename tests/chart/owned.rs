//! What the chart sets is the chart's: whoever sets it a second time is told which value to use, in place of a pod that crashes or a
//! setting that does nothing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::rendered::{VALUE_SETS, arguments, chart, objects, pods, template, value_set};

/// The section of the values of a part, which is called as its subcommand.
fn section(part: &str) -> &str {
    if part == "collector" { "collectors" } else { part }
}

/// The flags that the chart sets with a value set, each with its part's section; without those that the value set itself adds.
async fn set_by_the_chart(set: &str) -> Result<BTreeSet<(String, String)>> {
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(value_set(set))?)?;
    let mut found = BTreeSet::new();
    for (_, pod) in pods(&objects(set).await?) {
        let arguments = arguments(pod);
        let (part, flags) = arguments.split_first().context("no arguments")?;
        for flag in flags.iter().filter(|_| *part != "ctl") {
            let flag = flag.trim_start_matches("--").split('=').next().unwrap_or_default();
            if values[section(part)]["settings"][flag].is_null() {
                found.insert((section(part).to_owned(), flag.to_owned()));
            }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_flag_that_the_chart_sets_is_refused_and_its_value_named() -> Result<()> {
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml"))?)?;
    let mut seen = BTreeSet::new();
    for set in VALUE_SETS {
        let flags = set_by_the_chart(set).await?;
        let twice: Vec<String> = flags.iter().map(|(section, flag)| format!("{section}.settings.{flag}=1")).collect();
        let told = template(set, &twice.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        ensure!(!told.success, "{set}: it is taken");
        for (section, flag) in &flags {
            let says = format!("{section}.settings.{flag}: the chart sets --{flag} itself");
            let said = told.stderr.lines().find(|line| line.contains(&says));
            let said = said.with_context(|| format!("{set}: {says} is not in {}", told.stderr))?;
            let named = said.split_once("use the value ").map_or("", |(_, named)| named);
            for value in named.split(", ").flat_map(|some| some.split(" and ")).filter(|value| !value.is_empty()) {
                let there = values.pointer(&format!("/{}", value.replace('.', "/")));
                ensure!(there.is_some(), "{said}: there is no such value");
            }
        }
        seen.extend(flags);
    }
    ensure!(seen.len() > 50, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn no_way_round_is_left() -> Result<()> {
    for (more, says) in [
        (&["interceptor.extraArgs={--drain-timeout=5s}"][..], "use the value interceptor.drainSeconds"),
        (&["interceptor.extraArgs={--drain-timeout,5s}"], "use the value interceptor.drainSeconds"),
        (&["manager.extraArgs={--manager-name=x}"], "has no value for it: leave it out"),
        (&["manager.settings.routes=/routes"], "has no value for it: leave it out"),
        (&["interceptor.extraEnv[0].name=PLIMSOLL_DRAIN_TIMEOUT"], "use the value interceptor.drainSeconds"),
        (&["interceptor.extraEnv[0].name=KEDA_HTTP_DRAIN_TIMEOUT"], "use the value interceptor.drainSeconds"),
        (&["interceptor.extraEnv[0].name=KEDA_HTTP_WATCH_NAMESPACE"], "use the value watchNamespace"),
        (&["interceptor.extraEnv[0].name=KEDA_HTTP_PROXY_TLS_ENABLED"], "interceptor.tls.secretName"),
        (&["kafka.config.client\\.id=x", "collectors.settings.kafka-config=a"], "use the value kafka.config"),
        (
            &["interceptor.settings.connect-timeout=1s", "interceptor.extraArgs={--connect-timeout=2s}"],
            "is in settings, too",
        ),
    ] {
        let told = template("default", more).await?;
        ensure!(!told.success && told.stderr.contains(says), "{more:?} should say {says:?}: {}", told.stderr);
    }
    // What is the user's to say.
    let free = [
        "interceptor.settings.connect-timeout=1s",
        "interceptor.extraArgs={--access-log=json}",
        "interceptor.extraEnv[0].name=KEDA_HTTP_REQUEST_TIMEOUT",
        "interceptor.extraEnv[0].value=10s",
        "collectors.extraArgs={--kafka-config=client.id=a,--kafka-config=client.rack=b}",
    ];
    let told = template("default", &free).await?;
    ensure!(told.success, "{}", told.stderr);
    Ok(())
}
