//! What the chart passes to the program is what the program takes.

use anyhow::{Result, ensure};

use crate::program;
use crate::rendered::{VALUE_SETS, arguments, objects, pods};

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
