//! Compiles the protocol definitions. protox parses them, so that no protoc is needed for these.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["log.proto", "collector.proto", "externalscaler.proto"];
    for file in files {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // Asked for by gRPC clients that have no .proto file.
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
