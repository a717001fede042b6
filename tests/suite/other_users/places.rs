//! What others may have put where a socket shall be: it is refused, and left as it was.

use super::{
    ANNA, BERT, Serving, User, ask, at_abstract_name, at_path, endpoint_of, own, there_are_others,
};
use crate::common::{Scratch, leave_socket, set_mode};
use msgpipe::{Access, Error, ServerOptions, Trust};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Everything below a directory, itself included: which file it is, what of it others could have
/// changed, and what is in it.
fn all_in(directory: &Path) -> BTreeMap<PathBuf, (Vec<u64>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let (changed, nanos) = (stat.mtime() as u64, stat.mtime_nsec() as u64);
        let mut facts = vec![stat.ino(), stat.mode().into(), stat.uid().into(), stat.gid().into()];
        // A directory's time is that of the lock file too, which has come and gone.
        facts.extend((!stat.is_dir()).then_some([changed, nanos]).into_iter().flatten());
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        if stat.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (facts, content));
    }
    found
}

/// That nothing can be bound at `place`, for a reason with these words, and nothing is changed.
#[track_caller]
fn is_refused(scratch: &Scratch, place: &str, words: &str) {
    let before = all_in(scratch.directory());
    match ServerOptions::new().bind_messages(endpoint_of(place)) {
        Err(Error::Insecure { problem, .. }) => assert!(problem.contains(words), "{problem}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("{place} was bound"),
    }
    assert_eq!(all_in(scratch.directory()), before);
}

/// As [`is_refused`], with another user who tries.
#[track_caller]
fn is_refused_to(who: User, scratch: &Scratch, place: &str, words: &str) {
    is_refused_with(who, scratch, place, words, &[]);
}

#[track_caller]
fn is_refused_with(who: User, scratch: &Scratch, place: &str, words: &str, env: &[(&str, &str)]) {
    let before = all_in(scratch.directory());
    let said = who.plays_with("binds", place, env).says();
    assert!(said.starts_with("failed Insecure") && said.contains(words), "{said}");
    assert_eq!(all_in(scratch.directory()), before);
}

#[test]
fn what_is_no_socket_of_ones_own_is_left_as_it_was() {
    let scratch = Scratch::with_mode(0o755);
    let path = |name: &str| scratch.path(name);
    fs::write(path("file"), "precious").unwrap();
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("directory/inside"), "precious too").unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    let live = UnixListener::bind(path("live")).unwrap();
    symlink(path("live"), path("link to live")).unwrap();
    leave_socket(&path("stale"));
    symlink(path("stale"), path("link to stale")).unwrap();
    symlink(path("file"), path("link to file")).unwrap();
    for name in ["file", "directory", "dangling", "link to live", "link to stale", "link to file"] {
        is_refused(&scratch, &at_path(&path(name)), "no socket");
    }
    // A link in the place of the lock would make its target the lock, or a file of its target.
    symlink(path("file"), path("locked.lock")).unwrap();
    is_refused(&scratch, &at_path(&path("locked")), "symbolic link");
    assert!(UnixStream::connect(path("live")).is_ok());
    drop(live);
}

#[test]
fn a_socket_of_somebody_else_is_left_as_it_was() {
    let scratch = Scratch::with_mode(0o755);
    let stale = scratch.path("stale");
    if !there_are_others() {
        leave_socket(&stale);
        let _own = Serving::with_access(&at_path(&stale), &Access::Owner).unwrap();
        return assert_eq!(ask(&at_path(&stale), Trust::SameUser).unwrap(), "hello");
    }
    // While the directory was open to all.
    set_mode(scratch.directory(), 0o777);
    assert_eq!(ANNA.plays("leaves a socket", &at_path(&stale)).says(), "it has left");
    let live = scratch.path("live");
    let mut listening = ANNA.plays("listens plainly", &at_path(&live));
    assert_eq!(listening.says(), "it listens");
    set_mode(scratch.directory(), 0o755);
    let of_anna = format!("socket of user {}", ANNA.uid);
    is_refused(&scratch, &at_path(&stale), &of_anna);
    is_refused(&scratch, &at_path(&live), &of_anna);
    // The live one was not even connected to: it still waits for its first client.
    drop(UnixStream::connect(&live).unwrap());
    assert_eq!(listening.says(), "heard ");
}

#[test]
fn a_directory_that_others_own_or_can_write_to_is_refused() {
    let scratch = Scratch::with_mode(0o755);
    let open = scratch.path("open");
    fs::create_dir(&open).unwrap();
    let place = at_path(&open.join("socket"));
    for mode in [0o777, 0o1777, 0o770, 0o1770, 0o722] {
        set_mode(&open, mode);
        is_refused(&scratch, &place, "others can write");
        if there_are_others() && mode & 0o002 != 0 {
            is_refused_to(ANNA, &scratch, &place, "others can write");
        }
    }
    if there_are_others() {
        chown(&open, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        let of_anna = format!("belongs to user {}", ANNA.uid);
        for mode in [0o755, 0o777, 0o1777] {
            set_mode(&open, mode);
            is_refused(&scratch, &place, &of_anna);
            is_refused_to(BERT, &scratch, &place, &of_anna);
        }
        set_mode(&open, 0o755);
        assert_eq!(ANNA.plays("binds", &place).says(), "bound");
    } else {
        set_mode(&open, 0o755);
        assert!(Serving::with_access(&place, &Access::Owner).is_ok());
    }
}

/// Plain names lie in a directory of the user's own, which may be in one that all can write to, such
/// as /tmp: there somebody else can have been first.
#[test]
fn a_plain_name_in_a_directory_for_all_is_safe_from_who_was_there_first() {
    let scratch = Scratch::with_mode(0o1777);
    let me = own();
    let runtime = scratch.directory().to_str().unwrap();
    let env = [("XDG_RUNTIME_DIR", runtime)];
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
    fs::remove_dir(&own).unwrap();
    set_mode(scratch.directory(), 0o777);
    is_refused_with(me, &scratch, "name:notes", "others can write", &env);
    set_mode(scratch.directory(), 0o1777);

    if there_are_others() {
        fs::create_dir(&own).unwrap();
        set_mode(&own, 0o700);
        chown(&own, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        let of_anna = format!("belongs to user {}", ANNA.uid);
        is_refused_with(me, &scratch, "name:notes", &of_anna, &env);
        is_refused_with(BERT, &scratch, "name:notes", &of_anna, &env);
        assert_eq!(ANNA.plays_with("binds", "name:notes", &env).says(), "bound");
        fs::remove_dir(&own).unwrap();
    }
    let mut serving = me.plays_with("serves", "name:notes", &env);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(ask(&at_path(&socket), Trust::SameUser).unwrap(), "hello");
    if there_are_others() {
        assert_eq!(ANNA.plays("connects plainly", &at_path(&socket)).says(), "refused 13");
    }
}

/// Whoever owns a lock file can hold its lock for ever: a file of somebody else's is no lock.
#[test]
fn a_lock_file_of_somebody_else_is_named_and_left_as_it_was() {
    let scratch = Scratch::with_mode(0o755);
    let (socket, lock) = (scratch.path("socket"), scratch.path("socket.lock"));
    let place = at_path(&socket);
    fs::write(&lock, "").unwrap();
    if !there_are_others() {
        return assert!(Serving::with_access(&place, &Access::Owner).is_ok());
    }
    // One that this user could open, and one that it cannot.
    chown(&lock, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    is_refused(&scratch, &place, &format!("socket.lock belongs to user {}", ANNA.uid));
    let mut holding = ANNA.plays("holds a lock", &at_path(&lock));
    assert_eq!(holding.says(), "it is locked");
    is_refused(&scratch, &place, &format!("socket.lock belongs to user {}", ANNA.uid));

    chown(scratch.directory(), Some(BERT.uid), Some(BERT.gid)).unwrap();
    for mode in [0o600, 0o666] {
        set_mode(&lock, mode);
        is_refused_to(BERT, &scratch, &place, &format!("socket.lock belongs to user {}", ANNA.uid));
    }
    drop(holding);
    // What is in the way is named, so that it can be put out of it.
    fs::remove_file(&lock).unwrap();
    assert_eq!(BERT.plays("binds", &place).says(), "bound");
}

/// Nobody owns an abstract name: whoever is first has it, and is told from others by who it is.
#[test]
fn an_abstract_name_that_somebody_else_has_is_taken() {
    let place = at_abstract_name();
    let first = if there_are_others() { ANNA } else { own() };
    let mut serving = first.plays("serves", &place);
    assert_eq!(serving.says(), "it serves");
    let Err(Error::AlreadyServed { .. }) = Serving::with_access(&place, &Access::Owner) else {
        panic!("two servers")
    };
    // It goes with the process, however that ends.
    drop(serving);
    let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
    assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
}
