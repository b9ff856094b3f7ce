//! The guide in `docs/`: its reference is what the program says of itself, its links lead somewhere, and what it names is there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

#[path = "../driver/http.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod http;
#[path = "../driver/parts.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod parts;
#[path = "../driver/program.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod program;

mod commands;
mod links;
mod names;
mod pages;
mod reference;
mod served;
