//! Compiles the protocol definitions. protox parses them, so that no protoc is needed for these.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["log.proto", "collector.proto", "externalscaler.proto"];
    for file in files {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
