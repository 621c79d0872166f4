//! A node moves house.

use std::os::unix::fs::PermissionsExt as _;

use kith_common::chat::GroupId;
use kith_common::contact::Trust;
use kith_store::ContactRow;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).expect("not empty")
}

const GOOD: &str = "correct horse battery staple";
const GROUP: GroupId = GroupId::from_bytes([7; 16]);

fn contact(n: u8) -> ContactRow {
    ContactRow {
        peer: PeerId::from_public_key([n; 32]),
        name: format!("Number {n}"),
        own_name: "Ä".into(),
        note: "a \"note\"\nof two lines".into(),
        colour: 0x12_34_56,
        calls: Trust::Always,
        files: Trust::Never,
        relay: Trust::Ask,
        verified: true,
        mutual: true,
        addresses: vec!["/ip4/192.0.2.1/tcp/1".into()],
        last_seen_unix_ms: 5,
        added_unix_ms: 4,
        asked: true,
        request_text: "hello".into(),
    }
}

/// A data directory that was lived in.
async fn home() -> (TempDir, SecretKey) {
    let home = folder();
    let key = SecretKey::load_or_create(&net::key_file(home.path())).expect("an own folder");
    let (database, _) = Database::open(home.path(), key.peer_id()).await.expect("an own folder");
    let put = database.write(|store| {
        [contact(1), contact(2)].iter().try_for_each(|row| store.put_contact(row))?;
        store.new_group(GROUP, "Walks", &[contact(1).peer, contact(2).peer], 1)
    });
    put.await.expect("an own folder");
    database.close().await;
    std::fs::write(home.path().join("blocked.jsonl"), "{\"peer\": \"x\"}\n").expect("an own folder");
    std::fs::write(home.path().join("kithd.toml"), "name = \"Ada\"\ndata_dir = \"/old\"\n").expect("an own folder");
    (home, key)
}

#[tokio::test]
async fn a_node_that_moves_has_its_identity_its_contacts_its_groups_and_its_settings() {
    let (old, key) = home().await;
    let (new, elsewhere) = (folder(), folder());
    let file = elsewhere.path().join("ada.backup");
    let done =
        export(old.path(), &old.path().join("kithd.toml"), &file, &passphrase(GOOD)).await.expect("it is sealed");
    let line = format!("exported peer={} contacts=2 groups=1 file={}", key.peer_id(), file.display());
    assert_eq!(done.to_string(), line);
    assert_eq!(std::fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&file).expect("written");
    for secret in [&b"Number"[..], GOOD.as_bytes(), &key.to_bytes()] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "nothing is in the clear");
    }
    let again = export(old.path(), &old.path().join("kithd.toml"), &file, &passphrase(GOOD)).await;
    assert!(matches!(again, Err(BackupError::Io { action: "write", .. })), "no file is overwritten");

    let data = DataDir::take(&new.path().join("data")).expect("free");
    let settings = new.path().join("config/kithd.toml");
    let done = import(&data, &settings, &file, &passphrase(GOOD)).await.expect("it is opened");
    assert_eq!((done.peer, done.contacts, done.groups), (key.peer_id(), 2, 1));
    let moved = SecretKey::load(&net::key_file(data.path())).expect("written");
    assert_eq!(moved.peer_id(), key.peer_id());
    let (database, repair) = Database::open(data.path(), key.peer_id()).await.expect("written");
    assert_eq!(repair, None);
    assert_eq!(database.read(|store| store.contacts()).await, Ok(vec![contact(1), contact(2)]));
    let members = vec![contact(1).peer, contact(2).peer];
    assert_eq!(database.read(|store| store.groups()).await, Ok(vec![(GROUP, members)]));
    let titles = database.read(|store| store.conversations()).await.expect("it can be read");
    assert_eq!(titles.iter().map(|group| group.title.as_str()).collect::<Vec<_>>(), ["Walks"]);
    assert_eq!(std::fs::read_to_string(settings).expect("written").trim(), "name = \"Ada\"");
    assert!(data.path().join("blocked.jsonl").exists() && !data.path().join("peers.jsonl").exists());

    let second =
        import(&data, &new.path().join("x"), &file, &passphrase(GOOD)).await.expect_err("somebody lives there");
    assert!(second.to_string().contains("never overwritten"), "{second}");
}

#[tokio::test]
async fn a_wrong_passphrase_and_every_damage_are_refused_and_leave_nothing_behind() {
    let (old, _) = home().await;
    let elsewhere = folder();
    let file = elsewhere.path().join("ada.backup");
    export(old.path(), &old.path().join("none"), &file, &passphrase(GOOD)).await.expect("it is sealed");
    let sealed = std::fs::read(&file).expect("written");
    let data = DataDir::take(&elsewhere.path().join("data")).expect("free");
    let settings = elsewhere.path().join("kithd.toml");
    let refused = async |bytes: &[u8], words: &str| {
        std::fs::write(&file, bytes).expect("an own folder");
        let refused = import(&data, &settings, &file, &passphrase(words)).await.expect_err("it is not taken");
        assert_eq!(content::entries(data.path()).expect("an own folder"), Vec::<String>::new());
        refused
    };
    assert!(matches!(refused(&sealed, "another one").await, BackupError::Locked { .. }));
    // The last byte, the first sealed one, the salt: all is authenticated.
    for at in [sealed.len() - 1, 61, 22] {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert!(matches!(refused(&damaged, GOOD).await, BackupError::Locked { .. }), "{at}");
    }
    for length in [0, 7, 8, 9, 60] {
        assert!(matches!(refused(&sealed[..length], GOOD).await, BackupError::NoBackup { .. }), "{length}");
    }
    assert!(matches!(refused(&sealed[..61], GOOD).await, BackupError::Locked { .. }));
    let mut newer = sealed.clone();
    newer[8] = 2;
    assert!(matches!(refused(&newer, GOOD).await, BackupError::Newer { version: 2, .. }));
    // Four gigabytes of memory, to hold up whoever opens it.
    let mut dear = sealed;
    dear[9..13].copy_from_slice(&(4 * 1024 * 1024_u32).to_be_bytes());
    assert!(matches!(refused(&dear, GOOD).await, BackupError::NoBackup { .. }));
    assert!(!settings.exists());
}

#[tokio::test]
async fn a_backup_of_a_version_without_groups_is_taken() {
    let (old, key) = home().await;
    let elsewhere = folder();
    let file = elsewhere.path().join("ada.backup");
    export(old.path(), &old.path().join("none"), &file, &passphrase(GOOD)).await.expect("it is sealed");
    let json = file::open(&file, &passphrase(GOOD)).expect("it is opened");
    let mut content: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
    assert!(content.as_object_mut().expect("an object").remove("groups").is_some());
    let older = elsewhere.path().join("older.backup");
    let sealed = file::seal(content.to_string().as_bytes(), &passphrase(GOOD)).expect("it is sealed");
    file::write_new(&older, &sealed).expect("an own folder");
    let data = DataDir::take(&elsewhere.path().join("data")).expect("free");
    let done = import(&data, &elsewhere.path().join("kithd.toml"), &older, &passphrase(GOOD)).await.expect("taken");
    assert_eq!((done.peer, done.contacts, done.groups), (key.peer_id(), 2, 0));
}

#[tokio::test]
async fn weak_passphrases_seal_nothing_and_the_first_line_is_one() {
    let elsewhere = folder();
    let file = elsewhere.path().join("ada.backup");
    for weak in ["short", "aaaaaaaaaaaa", "          "] {
        let refused = export(elsewhere.path(), elsewhere.path(), &file, &passphrase(weak)).await;
        assert!(matches!(refused, Err(BackupError::Weak)), "{weak}");
    }
    assert!(matches!(Passphrase::new(String::new()), Err(BackupError::NoPassphrase)));
    assert!(matches!(Passphrase::from_line(&b"\nsecond"[..]), Err(BackupError::NoPassphrase)));
    let line = Passphrase::from_line(&b"two words \r\nsecond"[..]).expect("a line");
    assert_eq!((line.bytes(), format!("{line:?}").as_str()), (&b"two words "[..], "Passphrase"));
    assert!(!file.exists());
}
