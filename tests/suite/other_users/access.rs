//! Who gets into a server.

use super::{
    ANNA, BERT, Serving, User, ask, at_abstract_name, at_path, endpoint_of, own, own_uid,
    there_are_others,
};
use crate::common::raw::goodbye_in;
use crate::common::{Scratch, set_mode, unique_name};
use msgpipe::framing::{GoodbyeCode, Layer};
use msgpipe::{Access, Error, Principal, ServerOptions, Trust};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Permission denied: the error of the system if a file's mode excludes the user.
const EACCES: i32 = 13;

/// The output of a refused client: it was closed and got nothing.
pub const TURNED_AWAY: &str = "turned away";

/// What somebody who connected plainly has to say, where that was nothing but the goodbye of a server
/// that does not let it in: [`TURNED_AWAY`].
pub fn outcome(said: String) -> String {
    let heard = said.strip_prefix("heard ").filter(|heard| !heard.is_empty()).map(unhex);
    match heard.and_then(|heard| goodbye_in(&heard, Layer::Messages)) {
        Some((GoodbyeCode::NOT_AUTHORIZED, text)) if text.contains("may not connect") => {
            TURNED_AWAY.to_owned()
        }
        _ => said,
    }
}

fn custom(mode: Option<u32>) -> Access {
    Access::Custom { sddl: None, mode }
}

fn mode_of(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn by_default_the_files_mode_excludes_other_users() {
    let scratch = Scratch::with_mode(0o755);
    let path = scratch.path("socket");
    let serving = Serving::with_access(&at_path(&path), &Access::Owner).unwrap();
    assert_eq!(ask(&at_path(&path), Trust::SameUser).unwrap(), "hello");
    assert_eq!(mode_of(&path), 0o600);
    if there_are_others() {
        for who in [ANNA, BERT] {
            let said = who.plays("connects plainly", &at_path(&path)).says();
            assert_eq!(said, format!("refused {EACCES}"));
            let said = who.plays("asks, anyone", &at_path(&path)).says();
            assert!(
                said.starts_with("failed System") && said.contains("Permission denied"),
                "{said}"
            );
        }
        assert_eq!(ask(&at_path(&path), Trust::SameUser).unwrap(), "hello");
        return assert_eq!(serving.heard_of(), [0, 0]);
    }
    assert_eq!(serving.heard_of(), [own_uid()]);
}

/// Each with what keeps it out, and what to do.
#[test]
fn the_error_says_what_excludes_a_user() {
    let scratch = Scratch::with_mode(0o755);
    let path = scratch.path("socket");
    let _serving = Serving::with_access(&at_path(&path), &Access::Owner).unwrap();
    if !there_are_others() {
        return assert_eq!(ask(&at_path(&path), Trust::SameUser).unwrap(), "hello");
    }
    let said = ANNA.plays("asks", &at_path(&path)).says();
    assert!(said.contains("of user 0 and with mode 600, excludes user 60001"), "{said}");
    set_mode(scratch.directory(), 0o700);
    let said = ANNA.plays("asks", &at_path(&path)).says();
    assert!(said.contains("a directory of its path excludes user 60001"), "{said}");
    set_mode(scratch.directory(), 0o777);
    // A socket of another user can be neither served nor removed by this user.
    let stale = at_path(&scratch.path("stale"));
    assert_eq!(BERT.plays("leaves a socket", &stale).says(), "it has left");
    let told = ask(&stale, Trust::SameUser).unwrap_err().to_string();
    assert!(told.contains("a socket of user 60002; only that user can serve there"), "{told}");
}

/// A program with another effective user serves as the effective user.
#[test]
fn the_effective_user_is_the_servers_user() {
    let place = at_abstract_name();
    if !there_are_others() {
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        return assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    let mut serving = ANNA.plays_acting_as(BERT, "serves", &place);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(outcome(ANNA.plays("connects plainly", &place).says()), TURNED_AWAY);
    assert_eq!(BERT.plays("asks", &place).says(), "answered hello");
    let mut acting = ANNA.plays_acting_as(BERT, "asks", &place);
    assert_eq!(acting.says(), "answered hello");
}

/// An abstract name has no file and no mode: the server decides by the client's user.
#[test]
fn at_an_abstract_name_another_user_is_refused_unread() {
    let place = at_abstract_name();
    let serving = Serving::with_access(&place, &Access::Owner).unwrap();
    assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    let mut heard_of = vec![own_uid()];
    if there_are_others() {
        for who in [ANNA, BERT] {
            for part in ["connects plainly", "sends nonsense"] {
                assert_eq!(outcome(who.plays(part, &place).says()), TURNED_AWAY);
            }
            let said = who.plays("asks", &place).says();
            assert!(
                said.starts_with("failed Closed") && said.contains("may not connect"),
                "{said}"
            );
            assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
            heard_of.push(own_uid());
        }
    }
    assert_eq!(serving.heard_of(), heard_of, "the application heard of somebody else");
}

/// Even if the server's user is not root.
#[test]
fn root_may_connect_to_anybody() {
    if !there_are_others() {
        let place = at_abstract_name();
        let serving = Serving::with_access(&place, &Access::Owner).unwrap();
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
        return assert_eq!(serving.heard_of(), [own_uid()]);
    }
    let home = Scratch::with_mode(0o755);
    std::os::unix::fs::chown(home.directory(), Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    for place in [at_path(&home.path("socket")), at_abstract_name()] {
        let mut serving = ANNA.plays("serves", &place);
        assert_eq!(serving.says(), "it serves");
        let trust = Trust::Only(vec![Principal::Uid(ANNA.uid)]);
        assert_eq!(ask(&place, trust).unwrap(), "hello");
        assert_eq!(ANNA.plays("asks", &place).says(), "answered hello");
        let refused = if place.starts_with("path") { "refused 13" } else { TURNED_AWAY };
        assert_eq!(outcome(BERT.plays("connects plainly", &place).says()), refused);
    }
}

/// How a user's attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    In,
    /// The file's mode keeps it out.
    AtTheFile,
    /// The server closes it.
    AtTheServer,
    /// There is no server: it was refused what it asked for.
    NoServer,
}
use Ends::{AtTheFile, AtTheServer, In, NoServer};

/// Users with a group that counts, as their first and as another one, and with one that does not.
const GROUP: u32 = 60_020;
const FIRST: User = User { gid: GROUP, ..ANNA };
const ALSO: User = User { groups: &[60_021, GROUP], ..ANNA };
const NEITHER: User = User { groups: &[60_021], ..ANNA };
/// One in the group of the server's own file, which is root's.
const WITH_ROOT: User = User { groups: &[0], ..ANNA };

/// Which users may connect at a path, and which at an abstract name.
fn cases() -> Vec<(Access, User, Ends, Ends)> {
    let only = |principal| Access::Only(vec![principal]);
    let anna = || only(Principal::Uid(ANNA.uid));
    let group = || only(Principal::Gid(GROUP));
    vec![
        (anna(), ANNA, In, In),
        (anna(), BERT, AtTheServer, AtTheServer),
        (group(), FIRST, In, In),
        (group(), ALSO, In, In),
        (group(), NEITHER, AtTheServer, AtTheServer),
        (group(), BERT, AtTheServer, AtTheServer),
        // A user's number is no group's.
        (only(Principal::Gid(ANNA.uid)), ANNA, AtTheServer, AtTheServer),
        (only(Principal::Uid(GROUP)), FIRST, AtTheServer, AtTheServer),
        (only(Principal::Sid("S-1-1-0".into())), ANNA, AtTheServer, AtTheServer),
        (Access::Only(vec![]), ANNA, AtTheServer, AtTheServer),
        (Access::Everyone, ANNA, In, In),
        (Access::Everyone, BERT, In, In),
        (custom(Some(0o666)), BERT, In, In),
        // An abstract name has no file with a mode.
        (custom(Some(0o660)), WITH_ROOT, In, NoServer),
        (custom(Some(0o660)), ANNA, AtTheFile, NoServer),
        (custom(Some(0o600)), WITH_ROOT, AtTheFile, NoServer),
    ]
}

#[test]
fn access_admits_the_named_users_and_no_others() {
    for (access, who, by_path, by_name) in cases() {
        let scratch = Scratch::with_mode(0o755);
        let places = [(at_path(&scratch.path("socket")), by_path), (at_abstract_name(), by_name)];
        for (place, ends) in places {
            let serving = match Serving::with_access(&place, &access) {
                Err(Error::Insecure { .. }) if ends == NoServer => continue,
                serving => serving.unwrap(),
            };
            assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello", "{access:?}");
            let mut heard_of = vec![own_uid()];
            if there_are_others() {
                let said = match ends {
                    In => who.plays("asks", &place).says(),
                    _ => outcome(who.plays("connects plainly", &place).says()),
                };
                let expected = match ends {
                    In => "answered hello".to_owned(),
                    AtTheFile => format!("refused {EACCES}"),
                    AtTheServer | NoServer => TURNED_AWAY.to_owned(),
                };
                assert_eq!(said, expected, "{who:?} at {place} with {access:?}");
                heard_of.extend((ends == In).then_some(who.uid));
            }
            assert_eq!(serving.heard_of(), heard_of, "{who:?} at {place} with {access:?}");
        }
    }
}

#[test]
fn access_for_others_is_refused_at_a_place_they_cannot_reach() {
    let anybody = Access::Only(vec![Principal::Uid(own_uid())]);
    for access in [anybody, Access::Everyone, custom(Some(0o600)), custom(None)] {
        let options = ServerOptions::new().access(access.clone());
        let Err(Error::Insecure { problem, .. }) = options.bind_messages(&*unique_name()) else {
            panic!("{access:?} on a plain name");
        };
        assert!(problem.contains("plain name"), "{problem}");
    }
    // Without a mode there is no setting for this system, and nothing is created.
    let scratch = Scratch::new();
    let windows_only = Access::Custom { sddl: Some("D:(A;;GA;;;WD)".into()), mode: None };
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let options = ServerOptions::new().access(windows_only.clone());
        let Err(Error::Insecure { problem, .. }) = options.bind_messages(endpoint_of(&place))
        else {
            panic!("no mode at {place}");
        };
        assert!(problem.contains("mode"), "{problem}");
    }
    assert_eq!(scratch.directory().read_dir().unwrap().count(), 0);
}

#[test]
fn the_mode_of_the_file_follows_the_access() {
    let scratch = Scratch::new();
    let only = Access::Only(vec![Principal::Uid(1)]);
    for (access, mode) in [
        (Access::Owner, 0o600),
        (only, 0o666),
        (Access::Everyone, 0o666),
        (custom(Some(0o640)), 0o640),
        (custom(Some(0o100_666)), 0o666),
    ] {
        let path = scratch.path("socket");
        let _serving = Serving::with_access(&at_path(&path), &access).unwrap();
        assert_eq!(mode_of(&path), mode, "{access:?}");
    }
}

/// Neither a umask that removes too much, nor one that removes nothing.
#[test]
fn the_umask_changes_nothing() {
    for (access, mode) in [("owner", 0o600), ("everyone", 0o666)] {
        for umask in ["000", "777"] {
            let scratch = Scratch::new();
            let path = scratch.path("socket");
            let mut serving =
                own().plays(&format!("serves, {access}, umask {umask}"), &at_path(&path));
            assert_eq!(serving.says(), "it serves");
            assert_eq!(mode_of(&path), mode, "{access}, umask {umask}");
            assert_eq!(
                mode_of(&scratch.path(".socket.msgpipe-lock")),
                0o600,
                "{access}, umask {umask}"
            );
        }
    }
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A directory that others cannot enter excludes them, whatever the access of the socket is.
#[test]
fn a_closed_directory_excludes_other_users() {
    let scratch = Scratch::with_mode(0o700);
    let place = at_path(&scratch.path("socket"));
    let serving = Serving::with_access(&place, &Access::Everyone).unwrap();
    if there_are_others() {
        assert_eq!(ANNA.plays("connects plainly", &place).says(), format!("refused {EACCES}"));
        set_mode(scratch.directory(), 0o711);
        assert_eq!(ANNA.plays("asks", &place).says(), "answered hello");
    }
    assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    assert_eq!(serving.heard_of().last(), Some(&own_uid()));
}
