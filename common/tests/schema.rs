//! The schema is append-only: what a client was built against stays as it was.
//!
//! `schema/snapshot.txt` has a line for every type, field, enumerant and method of the compiled schema. A line that
//! changes or goes is a broken promise; a new line wants to be written down (`KITH_SNAPSHOT=write`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use capnp::schema_capnp::{code_generator_request, field, node, type_};

fn type_name(of: type_::Reader<'_>) -> String {
    match of.which().expect("a type of this version of capnp") {
        type_::Void(()) => "Void".into(),
        type_::Bool(()) => "Bool".into(),
        type_::Int8(()) => "Int8".into(),
        type_::Int16(()) => "Int16".into(),
        type_::Int32(()) => "Int32".into(),
        type_::Int64(()) => "Int64".into(),
        type_::Uint8(()) => "UInt8".into(),
        type_::Uint16(()) => "UInt16".into(),
        type_::Uint32(()) => "UInt32".into(),
        type_::Uint64(()) => "UInt64".into(),
        type_::Float32(()) => "Float32".into(),
        type_::Float64(()) => "Float64".into(),
        type_::Text(()) => "Text".into(),
        type_::Data(()) => "Data".into(),
        type_::List(list) => format!("List({})", type_name(list.get_element_type().expect("a list has elements"))),
        type_::Enum(of) => format!("enum {:#x}", of.get_type_id()),
        type_::Struct(of) => format!("struct {:#x}", of.get_type_id()),
        type_::Interface(of) => format!("interface {:#x}", of.get_type_id()),
        type_::AnyPointer(_) => "AnyPointer".into(),
    }
}

fn text(reader: capnp::Result<capnp::text::Reader<'_>>) -> String {
    reader.and_then(|text| Ok(text.to_string()?)).expect("names are text")
}

fn describe(node: node::Reader<'_>, lines: &mut BTreeSet<String>) {
    let name = text(node.get_display_name());
    let mut line = |what: String| assert!(lines.insert(format!("{name} {what}")), "twice: {name} {what}");
    match node.which().expect("a node of this version of capnp") {
        node::Struct(of) => {
            let kind = if of.get_is_group() { "group" } else { "struct" };
            line(format!("{kind} {:#x}", node.get_id()));
            for field in of.get_fields().expect("a struct has fields") {
                let ordinal = match field.get_ordinal().which().expect("known") {
                    field::ordinal::Explicit(ordinal) => format!("@{ordinal:03}"),
                    field::ordinal::Implicit(()) => "@   ".into(),
                };
                let mut what = format!("{ordinal} {}", text(field.get_name()));
                match field.which().expect("known") {
                    field::Slot(slot) => {
                        let of = type_name(slot.get_type().expect("a slot has a type"));
                        write!(what, " :{of} at {}", slot.get_offset()).expect("a String takes all");
                    }
                    field::Group(group) => write!(what, " :group {:#x}", group.get_type_id()).expect("likewise"),
                }
                if field.get_discriminant_value() != field::NO_DISCRIMINANT {
                    write!(what, " union {}", field.get_discriminant_value()).expect("likewise");
                }
                line(what);
            }
        }
        node::Enum(of) => {
            line(format!("enum {:#x}", node.get_id()));
            for (ordinal, value) in of.get_enumerants().expect("an enum has values").iter().enumerate() {
                line(format!("@{ordinal:03} {}", text(value.get_name())));
            }
        }
        node::Interface(of) => {
            line(format!("interface {:#x}", node.get_id()));
            for parent in of.get_superclasses().expect("a list, maybe empty") {
                line(format!("extends {:#x}", parent.get_id()));
            }
            for (ordinal, method) in of.get_methods().expect("an interface has methods").iter().enumerate() {
                let (name, takes, gives) =
                    (text(method.get_name()), method.get_param_struct_type(), method.get_result_struct_type());
                line(format!("@{ordinal:03} {name} ({takes:#x}) -> ({gives:#x})"));
            }
        }
        node::File(()) => line(format!("file {:#x}", node.get_id())),
        node::Const(_) | node::Annotation(_) => {}
    }
}

#[test]
fn schema_only_grows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema");
    let request = std::fs::read(folder.join("kith.cgr.bin")).expect("it is part of the tree");
    let mut options = capnp::message::ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let message = capnp::serialize::read_message(&request[..], options).expect("scripts/schema made it");
    let request: code_generator_request::Reader<'_> = message.get_root().expect("a code generator request");
    let mut now = BTreeSet::new();
    for node in request.get_nodes().expect("it has nodes") {
        // capnp's own files are not ours to promise.
        if !text(node.get_display_name()).starts_with("/capnp/") {
            describe(node, &mut now);
        }
    }
    let path = folder.join("snapshot.txt");
    if std::env::var_os("KITH_SNAPSHOT").is_some_and(|value| value == "write") {
        let text = now.iter().fold(String::new(), |text, line| text + line + "\n");
        std::fs::write(&path, text).expect("the schema folder can be written");
        return;
    }
    let promised = std::fs::read_to_string(&path).expect("it is part of the tree");
    let promised: BTreeSet<String> = promised.lines().map(str::to_owned).collect();
    let broken: Vec<_> = promised.difference(&now).collect();
    assert!(broken.is_empty(), "the schema is append-only, but these have changed or gone:\n{broken:#?}");
    let new: Vec<_> = now.difference(&promised).collect();
    assert!(new.is_empty(), "new in the schema; run KITH_SNAPSHOT=write cargo test -p kith-common schema:\n{new:#?}");
}
