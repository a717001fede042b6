//! Files of other users at a socket's path: they are refused, and left unchanged.

use super::{
    ANNA, BERT, Serving, User, ask, at_abstract_name, at_path, endpoint_of, own, there_are_others,
};
use crate::common::{Scratch, leave_socket, set_mode};
use msgpipe::{Access, Error, Risk, ServerOptions, Trust};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Everything below a directory, itself included: which file it is, what of it others could have
/// changed, and what is in it.
pub fn all_in(directory: &Path) -> BTreeMap<PathBuf, (Vec<u64>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let (changed, nanos) = (stat.mtime() as u64, stat.mtime_nsec() as u64);
        let mut facts = vec![stat.ino(), stat.mode().into(), stat.uid().into(), stat.gid().into()];
        // The directory's time also changes with the lock file, which was created and removed.
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

/// Checks that binding at `place` fails with these words in the error, and changes nothing.
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

/// As [`is_refused`], by another user.
#[track_caller]
fn is_refused_to(who: User, scratch: &Scratch, place: &str, words: &str) {
    is_refused_with(who, scratch, place, words, &[]);
}

#[track_caller]
pub fn is_refused_with(
    who: User,
    scratch: &Scratch,
    place: &str,
    words: &str,
    env: &[(&str, &str)],
) {
    let before = all_in(scratch.directory());
    let said = who.plays_with("binds", place, env).says();
    assert!(said.starts_with("failed Insecure") && said.contains(words), "{said}");
    assert_eq!(all_in(scratch.directory()), before);
}

#[test]
fn a_file_that_is_not_an_own_socket_is_left_unchanged() {
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
        is_refused(&scratch, &at_path(&path(name)), "not a socket");
    }
    // A link in the place of the lock would make its target the lock, or a file of its target.
    symlink(path("file"), path(".locked.msgpipe-lock")).unwrap();
    is_refused(&scratch, &at_path(&path("locked")), "symbolic link");
    assert!(UnixStream::connect(path("live")).is_ok());
    drop(live);
}

#[test]
fn a_socket_of_another_user_is_left_unchanged() {
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

/// The owner of a directory of the path can replace what is below it.
#[test]
fn a_path_through_another_users_directory_is_refused() {
    let scratch = Scratch::with_mode(0o755);
    let theirs = scratch.path("theirs");
    let inside = theirs.join("inside");
    fs::create_dir_all(&inside).unwrap();
    set_mode(&theirs, 0o755);
    set_mode(&inside, 0o755);
    let place = at_path(&inside.join("socket"));
    assert!(Serving::with_access(&place, &Access::Owner).is_ok());
    if there_are_others() {
        chown(&theirs, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        is_refused(&scratch, &place, "a directory of its path, belongs to user 60001");
        // Also a link, which its owner can lead elsewhere.
        chown(&theirs, Some(0), Some(0)).unwrap();
        let link = scratch.path("link");
        symlink("theirs", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
        is_refused(&scratch, &at_path(&link.join("inside/socket")), "belongs to user 60001");
    }
}

/// Where programs that exist already look for a socket directly in /tmp.
#[test]
fn a_shared_directory_is_used_if_its_risk_is_accepted() {
    let scratch = Scratch::with_mode(0o1777);
    let path = scratch.path("socket");
    let place = at_path(&path);
    let accepts =
        || ServerOptions::new().access(Access::Everyone).accept_risk(Risk::SharedDirectory);
    is_refused(&scratch, &place, "Risk::SharedDirectory");
    {
        let _serving = Serving::start(&place, &accepts()).unwrap();
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
        if there_are_others() {
            // Others can use it, and can neither remove nor replace it.
            assert_eq!(ANNA.plays("asks", &place).says(), "answered hello");
            assert_eq!(ANNA.plays("removes", &place).says(), "failed EPERM");
            is_refused_to(ANNA, &scratch, &place, "Risk::SharedDirectory");
        }
    }
    // A crashed server's file is taken over; files of others are named and left unchanged.
    leave_socket(&path);
    drop(Serving::start(&place, &accepts()).unwrap());
    if there_are_others() {
        let refused = |words: &str| {
            let before = all_in(scratch.directory());
            let Err(Error::Insecure { problem, .. }) = Serving::start(&place, &accepts()) else {
                panic!("bound")
            };
            assert!(problem.contains(words), "{problem}");
            assert_eq!(all_in(scratch.directory()), before);
        };
        assert_eq!(ANNA.plays("leaves a socket", &place).says(), "it has left");
        refused("a socket of user 60001 is at its path");
        fs::remove_file(&path).unwrap();
        let lock = scratch.path(".socket.msgpipe-lock");
        let mut holding = ANNA.plays("holds a lock", &at_path(&lock));
        assert_eq!(holding.says(), "it is locked");
        refused("belongs to user 60001");
    }
    // The risk that is accepted is this one only.
    set_mode(scratch.directory(), 0o777);
    let refused = Serving::start(&place, &accepts()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("others can write"), "{refused}");
}

/// A mode that keeps its own user from connecting: to see whether somebody listens there is not to
/// take it for served.
#[test]
fn a_killed_server_whose_mode_excludes_its_own_user_is_taken_over() {
    let scratch = Scratch::with_mode(0o755);
    let who = if there_are_others() { ANNA } else { own() };
    let home = scratch.path("home");
    fs::create_dir(&home).unwrap();
    if who != own() {
        chown(&home, Some(who.uid), Some(who.gid)).unwrap();
    }
    let path = home.join("socket");
    for mode in ["066", "000", "400", "600"] {
        let mut crashing = who.plays(&format!("serves, mode {mode}"), &at_path(&path));
        assert_eq!(crashing.says(), "it serves");
        // As long as it lives it is served, and keeps its mode.
        let said = who.plays("binds", &at_path(&path)).says();
        assert!(said.starts_with("failed AlreadyServed"), "{mode}: {said}");
        assert_eq!(format!("{:03o}", fs::symlink_metadata(&path).unwrap().mode() & 0o777), mode);
        drop(crashing); // it is killed
        assert_eq!(who.plays("binds", &at_path(&path)).says(), "bound", "mode {mode}");
        // A server without our lock is not displaced either.
        let mut foreign = who.plays("listens plainly", &at_path(&path));
        assert_eq!(foreign.says(), "it listens");
        set_mode(&path, u32::from_str_radix(mode, 8).unwrap());
        let said = who.plays("binds", &at_path(&path)).says();
        assert!(said.starts_with("failed AlreadyServed"), "{mode}: {said}");
        assert_eq!(format!("{:03o}", fs::symlink_metadata(&path).unwrap().mode() & 0o777), mode);
        drop(foreign);
        assert_eq!(who.plays("binds", &at_path(&path)).says(), "bound", "mode {mode}");
    }
}

/// Who changes its directory while it serves.
#[test]
fn a_relative_path_is_resolved_once() {
    let scratch = Scratch::new();
    let place = at_path(scratch.directory());
    let said = own().plays("serves relatively, and changes its directory", &place).says();
    let absolute = scratch.path("one/s.sock");
    assert_eq!(
        said,
        format!(
            "served {}; one: []; two: [\".s.sock.msgpipe-lock\", \"s.sock\"]",
            absolute.display()
        )
    );
}

/// The owner of a lock file can hold its lock for ever: a file of another user is not used as a lock.
#[test]
fn a_lock_file_of_another_user_is_named_and_left_unchanged() {
    let scratch = Scratch::with_mode(0o755);
    let (socket, lock) = (scratch.path("socket"), scratch.path(".socket.msgpipe-lock"));
    let place = at_path(&socket);
    fs::write(&lock, "").unwrap();
    if !there_are_others() {
        return assert!(Serving::with_access(&place, &Access::Owner).is_ok());
    }
    // One that this user could open, and one that it cannot.
    chown(&lock, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    is_refused(
        &scratch,
        &place,
        &format!(
            ".socket.msgpipe-lock has the name of its lock file, and belongs to user {}",
            ANNA.uid
        ),
    );
    let mut holding = ANNA.plays("holds a lock", &at_path(&lock));
    assert_eq!(holding.says(), "it is locked");
    is_refused(
        &scratch,
        &place,
        &format!(
            ".socket.msgpipe-lock has the name of its lock file, and belongs to user {}",
            ANNA.uid
        ),
    );

    chown(scratch.directory(), Some(BERT.uid), Some(BERT.gid)).unwrap();
    for mode in [0o600, 0o666] {
        set_mode(&lock, mode);
        is_refused_to(
            BERT,
            &scratch,
            &place,
            &format!(
                ".socket.msgpipe-lock has the name of its lock file, and belongs to user {}",
                ANNA.uid
            ),
        );
    }
    drop(holding);
    // The error names the file, so that it can be removed.
    fs::remove_file(&lock).unwrap();
    assert_eq!(BERT.plays("binds", &place).says(), "bound");
}

/// An abstract name has no owner: the first server has it, and clients check its user.
#[test]
fn an_abstract_name_of_another_user_is_taken() {
    let place = at_abstract_name();
    let first = if there_are_others() { ANNA } else { own() };
    let mut serving = first.plays("serves", &place);
    assert_eq!(serving.says(), "it serves");
    let Err(Error::AlreadyServed { .. }) = Serving::with_access(&place, &Access::Owner) else {
        panic!("two servers")
    };
    // It ends with the process, however that ends.
    drop(serving);
    let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
    assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
}
