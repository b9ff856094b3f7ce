//! What the settings are, and how wrong ones are refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use clap::CommandFactory as _;

use super::*;

fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
    Ok(Alone::try_parse_from(["interceptor"].iter().chain(arguments))?.config)
}

#[test]
fn the_defaults_are_the_addons() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.proxy_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.response_header_timeout, Duration::from_secs(300));
    assert_eq!(config.connect_timeout, Duration::from_millis(500));
    assert_eq!(config.readiness_timeout, Duration::ZERO);
    assert!(config.cold_start_header);
    assert!(config.interceptor_name.ends_with(&std::process::id().to_string()));
}

#[test]
fn a_zero_of_the_addons_is_no_end_to_connections_that_are_reused() {
    assert_eq!(["0", "20"].map(|said| unless_zero(said, "2")), ["2", "20"]);
    // Our own flags mean what they say.
    let config = parse(&["--max-idle-conns", "0", "--max-idle-conns-per-host", "0"]).unwrap();
    assert_eq!((config.max_idle_conns, config.max_idle_conns_per_host), (0, 0));
}

#[test]
fn a_bad_value_is_refused_with_its_flag() {
    let error = parse(&["--connect-timeout", "soon"]).unwrap_err().to_string();
    assert!(error.contains("--connect-timeout") && error.contains("soon"), "{error}");
    assert!(parse(&["--max-header-bytes", "12"]).is_err());
}

#[test]
fn settings_with_which_nobody_would_be_served_or_heard_of_are_refused() {
    for [flag, value] in [
        ["--max-streams", "0"],
        ["--header-read-timeout", "0s"],
        ["--client-idle-timeout", "0"],
        ["--tls-handshake-timeout", "0s"],
        ["--interceptor-name", ""],
        ["--tick", "9ms"],
        ["--tick", "2001ms"],
    ] {
        let error = parse(&[flag, value]).unwrap_err().to_string();
        assert!(error.contains(flag), "{error}");
    }
    for tick in ["10ms", "2s"] {
        assert!(parse(&["--tick", tick]).is_ok(), "{tick}");
    }
}

#[test]
fn a_secret_setting_is_not_shown() {
    let config = parse(&["--otlp-headers", "authorization=hunter2"]).unwrap();
    assert_eq!(shown(&config)["otlp-headers"], "***");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn every_setting_is_shown_under_its_flags_name() {
    let shown = shown(&parse(&["--connect-timeout", "750ms"]).unwrap());
    for flag in Alone::command().get_arguments().filter_map(clap::Arg::get_long).filter(|flag| *flag != "help") {
        assert!(shown.get(flag).is_some(), "{flag} is not in {shown:#}");
    }
    assert_eq!(shown["connect-timeout"], "750ms");
    assert_eq!(shown["client-idle-timeout"], "3m");
}

#[test]
fn the_cold_start_header_can_be_switched_off() {
    assert!(!parse(&["--cold-start-header", "false"]).unwrap().cold_start_header);
}
