//! Compiles the schema once, for `kith-common` (`build = "../build.rs"`). It reads the checked-in code generator
//! request, so that building needs no `capnp` binary; `scripts/test` proves that the request is current.

use std::path::PathBuf;

fn main() {
    let schema = PathBuf::from("../schema");
    let request = schema.join("kith.cgr.bin");
    // capnpc prints no rerun lines of its own.
    println!("cargo:rerun-if-changed={}", request.display());
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let file = std::fs::File::open(&request).expect("schema/kith.cgr.bin is part of the tree; scripts/schema makes it");
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(PathBuf::from(out))
        .run(file)
        .expect("the checked-in code generator request is valid; run scripts/schema after editing schema/");
}
