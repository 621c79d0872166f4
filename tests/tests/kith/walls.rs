//! The walls of the house: which crate may be named where, and how long a file may be.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a workspace").to_owned()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("source folders are readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("found below the root").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("sources are UTF-8"))
        })
        .filter(|(name, _)| !name.starts_with("tests/"))
        .collect()
}

/// Files outside `allowed` that name `word`.
fn outside(word: &str, allowed: &[&str]) -> Vec<String> {
    sources()
        .into_iter()
        .filter(|(name, text)| text.contains(word) && !allowed.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn only_the_network_area_names_libp2p() {
    assert_eq!(outside("libp2p::", &["daemon/src/net", "daemon/tests"]), Vec::<String>::new());
}

#[test]
fn only_the_media_area_names_str0m_and_the_codecs() {
    assert_eq!(outside("str0m::", &["daemon/src/media"]), Vec::<String>::new());
    assert_eq!(outside("kith_codec::", &["daemon/src/media", "daemon/codec"]), Vec::<String>::new());
    for word in ["libaom_sys::", "libdav1d_sys::", "rav1e::", "opus::"] {
        let named = outside(word, &["daemon/codec", "daemon/src/media"]);
        assert_eq!(named, Vec::<String>::new(), "{word}");
    }
}

#[test]
fn only_the_rpc_areas_name_capnp_rpc() {
    let allowed =
        ["daemon/src/rpc", "daemon/tests", "common/src/client", "common/src/rpc", "common/tests", "gui/src/link"];
    assert_eq!(outside("capnp_rpc::", &allowed), Vec::<String>::new());
}

#[test]
fn only_the_store_names_the_database_and_only_sealing_names_olm() {
    assert_eq!(outside("rusqlite::", &["daemon/store"]), Vec::<String>::new());
    assert_eq!(outside("vodozemac::", &["daemon/src/chat/seal"]), Vec::<String>::new());
}

#[test]
fn only_rooms_above_it_name_the_people() {
    let above = ["daemon/src/contacts", "daemon/src/rpc", "daemon/src/node.rs", "daemon/src/calls", "daemon/src/chat"];
    let above = [&above[..], &["daemon/src/files", "daemon/src/backup", "common/"]].concat();
    assert_eq!(outside("crate::contacts", &above), Vec::<String>::new());
    for room in ["crate::calls", "crate::chat", "crate::rpc"] {
        let named: Vec<String> =
            outside(room, &[]).into_iter().filter(|file| file.starts_with("daemon/src/contacts")).collect();
        assert_eq!(named, Vec::<String>::new(), "{room}");
    }
}

#[test]
fn only_files_deal_with_content_and_with_no_room_beside_them() {
    assert_eq!(outside("kith_content::", &["daemon/content", "daemon/src/files"]), Vec::<String>::new());
    assert_eq!(outside("bao_tree::", &["daemon/content"]), Vec::<String>::new());
    let above =
        ["daemon/src/files", "daemon/src/rpc", "daemon/src/node.rs", "daemon/src/supervisor.rs", "daemon/store"];
    assert_eq!(outside("crate::files", &above), Vec::<String>::new());
    for room in ["crate::calls", "crate::chat", "crate::services", "crate::rpc", "crate::diagnostics", "crate::media"] {
        let named: Vec<String> =
            outside(room, &[]).into_iter().filter(|file| file.starts_with("daemon/src/files")).collect();
        assert_eq!(named, Vec::<String>::new(), "{room}");
    }
}

#[test]
fn only_rooms_above_it_name_the_diagnostics_room() {
    let above = ["daemon/src/rpc", "daemon/src/node.rs", "daemon/src/config.rs", "common/"];
    assert_eq!(outside("crate::diagnostics", &above), Vec::<String>::new());
}

#[test]
fn decisions_have_no_clock_no_sockets_and_no_async() {
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("daemon/core/src")) {
        // Tests need some instant to begin at.
        let decisions = text.split("mod tests {").next().unwrap_or_default();
        if name.contains("tests") {
            continue;
        }
        for word in ["tokio::", "Instant::now", "SystemTime::now", "MonoTime::now", "UdpSocket", "std::thread"] {
            assert!(!decisions.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn window_and_command_line_do_not_depend_on_the_daemon() {
    for manifest in ["gui/Cargo.toml", "ctl/Cargo.toml", "common/Cargo.toml", "common/capture/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).expect("every crate has a manifest");
        assert!(!text.contains("kithd") && !text.contains("kith-core"), "{manifest}");
    }
}

/// Whoever looks into a watch channel holds a lock until the guard is dropped. Somebody who is called meanwhile and looks as well
/// waits for a writer that waits for the first: both for ever, and with them all who share the channel.
#[test]
fn nobody_keeps_the_guard_of_a_watch_channel() {
    let keeps = |line: &str| {
        let line = line.trim();
        let looks = ["borrow()", "borrow_and_update()"].into_iter().any(|look| line.contains(&format!(".{look}")));
        let copied = line.contains("= *") || line.contains("Arc::clone(&") || line.contains("clone_from(&");
        let bound = line.starts_with("let ") && (line.ends_with("borrow();") || line.ends_with("borrow_and_update();"));
        let paired = line.starts_with("let (") && line.contains("borrow(), ");
        let block =
            ["match ", "if let ", "while let ", "for ", "&& let "].into_iter().any(|word| line.starts_with(word));
        looks && !copied && (bound || paired || (block && line.ends_with('{')))
    };
    let kept: Vec<String> = sources()
        .into_iter()
        .filter(|(name, _)| !name.contains("/tests"))
        .flat_map(|(name, text)| {
            let lines = text.lines().filter(|line| keeps(line)).map(|line| format!("{name}: {}", line.trim()));
            lines.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(kept, Vec::<String>::new());
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let long: Vec<(String, usize)> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > 800)
        .collect();
    assert_eq!(long, []);
}
