//! What the chart passes to the program is what the program takes.

use std::fs;

use anyhow::{Result, ensure};
use plimsoll_testkit::{Folder, helm};

use crate::program;
use crate::rendered::{
    RELEASE, VALUE_SETS, VERSION, arguments, chart, documents, flag, named, objects, pods, value_set, variable,
};

/// What the kubelet puts in for `$(NAME)` is some text of this form.
fn filled_in(argument: &str) -> String {
    argument.replace("$(POD_NAME)", "plimsoll-0").replace("$(POD_IP)", "10.0.0.1")
}

#[tokio::test]
async fn the_program_takes_every_argument() -> Result<()> {
    let mut asked = std::collections::BTreeSet::new();
    for name in VALUE_SETS {
        for (_, pod) in pods(&objects(name).await?) {
            asked.insert(arguments(pod).into_iter().map(filled_in).collect::<Vec<_>>());
        }
    }
    ensure!(asked.len() > 8, "{asked:?}");
    for arguments in asked {
        // With --help at the end everything before it is read, and nothing is done.
        let whole = [&arguments[..], &["--help".to_owned()]].concat();
        let ended = program::run(&whole).await?;
        ensure!(ended.success && ended.stdout.contains("Usage:"), "{arguments:?}: {}", ended.stderr);
        ensure!(arguments.iter().all(|argument| !argument.contains("$(")), "{arguments:?}");
    }
    for wrong in [["manager", "--no-such-flag=1", "--help"], ["interceptor", "--drain-timeout=soon", "--help"]] {
        ensure!(!program::run(&wrong).await?.success, "{wrong:?} is taken, so this test shows nothing");
    }
    Ok(())
}

/// In a file: a number of `--set`, as other tests have it, is whole to helm, one of a file is floating point.
#[tokio::test]
async fn large_numbers_reach_the_program_as_they_are_written() -> Result<()> {
    let folder = Folder::new("numbers")?;
    let file = folder.join("values.yaml");
    let numbers = "kafka: {config: {fetch.max.bytes: 52428800, some.ratio: 0.25}}\n\
                   interceptor: {settings: {frame-budget: 1000000}}\ncollectors: {maxPerHost: 2000000}\n";
    fs::write(&file, numbers)?;
    let (chart, values, numbers) = (chart().display().to_string(), value_set("default"), file.display().to_string());
    let arguments = ["template", RELEASE, &chart, "--kube-version", VERSION, "--values", &values, "--values", &numbers];
    let told = helm(&arguments, None).await?;
    ensure!(told.success, "{}", told.stderr);
    let objects = documents(&told.stdout)?;
    let pod = |name| named(&objects, "Deployment", name).map(|object| &object["spec"]["template"]["spec"]);
    let (interceptor, manager) = (pod("plimsoll-interceptor")?, pod("plimsoll-manager")?);
    ensure!(flag(interceptor, "frame-budget") == Some("1000000"), "{interceptor}");
    ensure!(flag(manager, "max-per-host") == Some("2000000"), "{manager}");
    let settings = variable(interceptor, "PLIMSOLL_KAFKA_CONFIG");
    ensure!(settings == Some("fetch.max.bytes=52428800;some.ratio=0.25"), "{settings:?}");
    Ok(())
}
