//! Generates the protobuf code from `proto/`, with protox instead of protoc.
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

/// The service that a relay serves.
const STREAM_SERVICE: &str = "runmesh/stream/v1/stream_service.proto";
/// Fields of its messages that a relay passes on as they are.
const PASSED_ON: [(&str, &str); 6] = [
    ("AttachRunResponse", "events"),
    ("AttachRunResponse", "snapshot"),
    ("AttachThreadResponse", "events"),
    ("AttachThreadResponse", "snapshot"),
    ("Events", "events"),
    ("AppendEvents", "events"),
];
/// The messages with such fields, and those that hold one of them.
const OF_THE_RELAY: [&str; 5] = ["AttachRunResponse", "AttachThreadResponse", "Events", "AppendEvents", "AppendRequest"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = proto_files(&root)?;
    let descriptors = protox::compile(&files, [&root])?;
    compile_relay(descriptors.clone())?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("runmesh.descriptors"), protox_encode(&files, &root)?)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .bytes(".runmesh.log.v1.LogBatch.events")
        .include_file("runmesh.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Generates StreamService once more, as the relay serves it: the same messages, but with events and snapshots as bytes. A relay that
/// decoded and encoded events would do so once a viewer, and would drop the kinds and fields that it does not know.
fn compile_relay(mut descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut kept = Vec::new();
    for file in &mut descriptors.file {
        if file.name() == STREAM_SERVICE {
            for (message, field) in PASSED_ON {
                let field = field_of(&mut file.message_type, message, field)?;
                (field.type_name, field.r#type) = (None, Some(Type::Bytes.into()));
            }
        } else {
            file.service.clear();
        }
        let names = file.message_type.iter().map(DescriptorProto::name);
        let names = names.chain(file.enum_type.iter().map(EnumDescriptorProto::name));
        let is_kept = |name: &&str| file.name() != STREAM_SERVICE || !OF_THE_RELAY.contains(name);
        if let Some(package) = file.package().strip_prefix("runmesh.") {
            let module = package.trim_end_matches(".v1");
            kept.extend(
                names.filter(is_kept).map(|name| (format!(".runmesh.{package}.{name}"), format!("crate::pb::{module}::{name}"))),
            );
        }
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("relay");
    fs::create_dir_all(&out)?;
    let mut config = tonic_prost_build::configure()
        .build_transport(false)
        .build_client(false)
        .codec_path("crate::codec::Codec")
        .bytes(".")
        .out_dir(out)
        .include_file("relay.rs");
    for (message, path) in kept {
        config = config.extern_path(message, path);
    }
    Ok(config.compile_fds(descriptors)?)
}

fn field_of<'a>(
    messages: &'a mut [DescriptorProto],
    message: &str,
    field: &str,
) -> Result<&'a mut FieldDescriptorProto, Box<dyn Error>> {
    let found = messages.iter_mut().find(|one| one.name() == message);
    let found = found.and_then(|one| one.field.iter_mut().find(|one| one.name() == field));
    found.ok_or_else(|| format!("StreamService has no field {message}.{field}, which a relay passes on as it is").into())
}

/// The descriptors with comments, so that reflection and tools show them.
fn protox_encode(files: &[PathBuf], root: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(files)?;
    Ok(compiler.encode_file_descriptor_set())
}

fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
