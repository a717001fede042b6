//! The directories of plain names: other users cannot create them first.

use super::namespaces::there_are;
use super::places::{all_in, is_refused_with};
use super::{ANNA, BERT, User, ask, at_path, own, there_are_others};
use crate::common::{Scratch, set_mode, unique_name};
use msgpipe::Trust;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A wrong directory that only this user can have created is named in the error.
#[test]
fn a_directory_for_plain_names_that_is_not_private_is_refused() {
    let scratch = Scratch::new();
    let me = own();
    let env = [("XDG_RUNTIME_DIR", scratch.directory().to_str().unwrap())];
    let own = scratch.path("msgpipe");
    let socket = own.join("notes.sock");

    fs::write(&own, "precious").unwrap();
    is_refused_with(me, &scratch, "name:notes", "not a directory", &env);
    fs::remove_file(&own).unwrap();
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &own).unwrap();
    is_refused_with(me, &scratch, "name:notes", "not a directory", &env);
    fs::remove_file(&own).unwrap();
    fs::create_dir(&own).unwrap();
    set_mode(&own, 0o711);
    is_refused_with(me, &scratch, "name:notes", "open to others", &env);
    if there_are_others() {
        set_mode(&own, 0o700);
        chown(&own, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        let of_anna = format!("belongs to user {}", ANNA.uid);
        is_refused_with(me, &scratch, "name:notes", &of_anna, &env);
    }
    fs::remove_dir(&own).unwrap();

    // With any umask: one that removes all bits, and one that removes none.
    for umask in ["777", "000"] {
        let mut serving = me.plays_with(&format!("serves, umask {umask}"), "name:notes", &env);
        assert_eq!(serving.says(), "it serves");
        assert_eq!(fs::symlink_metadata(&own).unwrap().mode() & 0o7777, 0o700, "umask {umask}");
        assert_eq!(ask(&at_path(&socket), Trust::SameUser).unwrap(), "hello");
        if there_are_others() {
            set_mode(scratch.directory(), 0o755);
            assert_eq!(ANNA.plays("connects plainly", &at_path(&socket)).says(), "refused 13");
        }
        drop(serving);
        fs::remove_dir_all(&own).unwrap();
    }
}

/// Nobody can keep a user from its names by taking a directory first: it is passed over, by the server
/// and by its clients.
#[test]
fn a_runtime_directory_that_others_could_have_is_skipped() {
    let scratch = Scratch::with_mode(0o755);
    let directory = scratch.path("runtime");
    fs::create_dir(&directory).unwrap();
    let env = [("XDG_RUNTIME_DIR", directory.to_str().unwrap())];
    let me = own();
    let is_used = |who: User| {
        let said = who.plays_with("locates", "name:notes", &env).says();
        said == directory.join("msgpipe/notes.sock").display().to_string()
    };
    for (mode, fits) in
        [(0o700, true), (0o755, true), (0o777, false), (0o1777, false), (0o770, false)]
    {
        set_mode(&directory, mode);
        assert_eq!(is_used(me), fits, "mode {mode:o}");
    }
    set_mode(&directory, 0o700);
    if there_are_others() {
        // As su leaves it.
        assert!(!is_used(ANNA));
        chown(&directory, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        assert!(is_used(ANNA) && !is_used(me) && !is_used(BERT));
        // Neither has a home or another directory: the error says so and what to do.
        set_mode(&directory, 0o777);
        let before = all_in(scratch.directory());
        for part in ["binds", "asks", "locates"] {
            let said = ANNA.plays_with(part, "name:notes", &env).says();
            assert!(said.starts_with("failed Insecure"), "{part}: {said}");
            assert!(said.contains("Set XDG_RUNTIME_DIR") && said.contains("60001"), "{said}");
        }
        assert_eq!(all_in(scratch.directory()), before);
        // And once it is done, it works.
        set_mode(&directory, 0o700);
        let mut serving = ANNA.plays_with("serves", "name:notes", &env);
        assert_eq!(serving.says(), "it serves");
        assert_eq!(ANNA.plays_with("asks", "name:notes", &env).says(), "answered hello");
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(!is_used(me), "one that does not exist");
}

/// A server that was started before there was a session is found from within one; and is not joined by
/// a second one. In a separate mount namespace, whose `/run` no other test sees.
#[test]
fn a_client_in_a_session_finds_a_server_without_one() {
    const INSIDE: &str = "MSGPIPE_TEST_OWN_RUN";
    if std::env::var_os(INSIDE).is_some() {
        return meets_across_sessions();
    }
    if !there_are("--mount") {
        return;
    }
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "sh", "-c"]);
    inside.arg(r#"mount -t tmpfs none /run || exit 77; mkdir /run/user; exec "$0" "$@""#);
    inside
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "other_users::names::a_client_in_a_session_finds_a_server_without_one"]);
    let inside = inside.env(INSIDE, "1").env_remove("XDG_RUNTIME_DIR").output().unwrap();
    if inside.status.code() == Some(77) {
        return println!("nothing can be mounted here: the rest of this test was left out");
    }
    assert!(inside.status.success(), "{inside:?}");
    assert!(String::from_utf8_lossy(&inside.stdout).contains("1 passed"), "{inside:?}");
}

fn meets_across_sessions() {
    let usual = PathBuf::from(format!("/run/user/{}", own().uid));
    let name = unique_name();
    let (place, env) = (format!("name:{name}"), [("XDG_RUNTIME_DIR", usual.to_str().unwrap())]);
    let mut early = own().plays("serves", &place);
    assert_eq!(early.says(), "it serves");
    fs::create_dir(&usual).unwrap();
    set_mode(&usual, 0o700);
    assert_eq!(own().plays_with("asks", &place, &env).says(), "answered hello");
    let bound = own().plays_with("binds", &place, &env).says();
    assert!(bound.starts_with("failed AlreadyServed"), "{bound}");
    drop(early);
    // With the variable and without, in the same place.
    let socket = usual.join(format!("msgpipe/{name}.sock"));
    for (server, client) in [(&env[..], &[][..]), (&[], &env)] {
        let mut late = own().plays_with("serves", &place, server);
        assert_eq!(late.says(), "it serves");
        assert_eq!(own().plays_with("asks", &place, client).says(), "answered hello");
        assert!(socket.exists());
    }
    // Without any server, the error names all places.
    let said = own().plays_with("asks", &format!("name:{}", unique_name()), &env).says();
    assert!(said.contains("NoServer") && said.contains(" either"), "{said}");
}
