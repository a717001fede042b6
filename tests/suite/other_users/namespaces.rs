//! Containers: processes that cannot be seen, and users that have no number.

use super::access::{TURNED_AWAY, outcome};
use super::{
    ANNA, BERT, Playing, Serving, User, ask, at_abstract_name, at_path, own_uid, play_in,
    program_for_all, there_are_others,
};
use crate::common::{Scratch, set_mode};
use msgpipe::{Access, Trust};
use std::io::Write;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

/// Enters a new user namespace, says so, waits until it has its users, becomes one of them, and runs
/// a program. Python, since a program with several threads cannot do the first.
const ENTER: &str = r#"
import ctypes, os, sys
CLONE_NEWUSER = 0x10000000
if ctypes.CDLL(None).unshare(CLONE_NEWUSER):
    sys.exit("unshare")
print("it says: it is in", flush=True)
os.read(0, 1)
user, program = int(sys.argv[1]), sys.argv[2:]
os.setgroups([]); os.setgid(user); os.setuid(user)
os.execv(program[0], program)
"#;

/// The overflow uid.
fn overflow() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap().trim().parse().unwrap()
}

/// Whether a namespace of this kind can be made. The rest of a test needs it.
pub fn there_are(kind: &str) -> bool {
    let mut unshare = Command::new("unshare");
    let made = unshare.args([kind, "--fork", "true"]).stderr(Stdio::null()).status();
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    let made = own_uid() == 0 && python.is_ok() && made.is_ok_and(|status| status.success());
    if !made {
        println!("no namespace can be made with {kind}: the rest of this test was left out");
    }
    made
}

/// Plays a part in a user namespace as `uid` of its numbers, of which there are these: the number
/// there, the number outside.
fn plays_as(
    uid: u32,
    map: &[(u32, u32)],
    part: &str,
    place: &str,
    env: &[(&str, &str)],
) -> Playing {
    let program = program_for_all();
    let mut command = Command::new("python3");
    command.args(["-c", ENTER]).arg(uid.to_string()).arg(&program.file);
    let mut playing = play_in(command, program, part, place, env);
    assert_eq!(playing.says(), "it is in");
    let lines: String = map.iter().map(|(there, here)| format!("{there} {here} 1\n")).collect();
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{file}", playing.pid()), &lines).unwrap();
    }
    playing.process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    playing
}

/// A server in a container and a client outside, and the reverse.
#[test]
fn an_invisible_process_is_identified_by_its_user() {
    if !there_are("--pid") {
        let place = at_abstract_name();
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        return assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    let in_container = |part: &str, place: &str| {
        let program = program_for_all();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(&program.file);
        play_in(command, program, part, place, &[])
    };
    let scratch = Scratch::new();
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let mut serving = in_container("names its client", &place);
        assert_eq!(serving.says(), "it serves");
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
        let peer = serving.says();
        assert!(peer.contains("pid: None, uid: Some(0)"), "{peer}");
        assert!(peer.contains("same_user: true"), "{peer}");
    }
    let place = at_abstract_name();
    let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
    assert_eq!(in_container("asks", &place).says(), "answered hello");
    // An unknown process number admits no further users.
    let place = at_abstract_name();
    let mut serving = in_container("serves", &place);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(outcome(ANNA.plays("connects plainly", &place).says()), TURNED_AWAY);
}

/// In a container, all unmapped users from outside have the number of `nobody`, also for a server that runs as
/// `nobody`.
#[test]
fn an_unmapped_user_is_not_the_containers_nobody() {
    let nobody = overflow();
    if !there_are("--user") {
        let place = at_abstract_name();
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        return assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    // The container's root and its nobody are two users outside; all others are unmapped in it.
    let map = [(0, ANNA.uid), (nobody, BERT.uid)];
    const STRANGER: User = User { uid: 60_003, gid: 60_013, groups: &[] };
    for options in ["", &format!("uid {nobody}")] {
        for uid in [0, nobody] {
            let place = at_abstract_name();
            let part = format!("serves, {options}");
            let mut serving = plays_as(uid, &map, &part, &place, &[]);
            assert_eq!(serving.says(), "it serves");
            let said = outcome(STRANGER.plays("connects plainly", &place).says());
            assert_eq!(said, TURNED_AWAY, "as {uid}, {options:?}");
            // The container's root differs from them, and can act as any user there.
            let root = plays_as(0, &map, "asks, anyone", &place, &[]).says();
            assert_eq!(root, "answered hello", "as {uid}");
        }
    }
    // A server for every user admits it, without an identity.
    let place = at_abstract_name();
    let mut serving = plays_as(0, &map, "names its client, everyone", &place, &[]);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(STRANGER.plays("asks, anyone", &place).says(), "answered hello");
    let peer = serving.says();
    assert!(peer.contains("uid: None, gid: None") && peer.contains("same_user: false"), "{peer}");

    // And a client in the container trusts no such server, unless it trusts anyone.
    let place = at_abstract_name();
    let mut listening = STRANGER.plays("listens plainly", &place);
    assert_eq!(listening.says(), "it listens");
    let said = plays_as(nobody, &map, "asks", &place, &[]).says();
    assert!(said.starts_with("failed Insecure") && said.contains("Trust::Anyone"), "{said}");
    assert_eq!(listening.says(), "heard ");
    let mut listening = STRANGER.plays("listens plainly", &place);
    assert_eq!(listening.says(), "it listens");
    let said = plays_as(nobody, &map, &format!("asks, uid {nobody}"), &place, &[]).says();
    assert!(said.starts_with("failed Insecure"), "{said}");
    assert_eq!(listening.says(), "heard ");
}

/// Where every user is mapped, the overflow uid is a normal user.
#[test]
fn outside_of_containers_nobody_is_a_user() {
    if !there_are_others() {
        let place = at_abstract_name();
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        return assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    if !map.contains("4294967295") {
        return println!("this is a container, in which nobody is no user: left out");
    }
    let nobody = User { uid: overflow(), gid: overflow(), groups: &[] };
    let place = at_abstract_name();
    let mut serving = nobody.plays("serves", &place);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(nobody.plays("asks", &place).says(), "answered hello");
    assert_eq!(outcome(ANNA.plays("connects plainly", &place).says()), TURNED_AWAY);
}

/// Where root has no number, `/` is a stranger's.
#[test]
fn a_path_is_used_where_root_is_unmapped_if_the_risk_is_accepted() {
    let scratch = Scratch::with_mode(0o755);
    let place = at_path(&scratch.path("socket"));
    if !there_are("--user") {
        return drop(Serving::with_access(&place, &Access::Owner).unwrap());
    }
    chown(scratch.directory(), Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    let map = [(1000, ANNA.uid)];
    let plays = |part: &str, place: &str, env: &[(&str, &str)]| {
        plays_as(1000, &map, part, place, env).says()
    };
    let refused = plays("binds", &place, &[]);
    assert!(refused.starts_with("failed Insecure"), "{refused}");
    assert!(refused.contains("unmapped in this user namespace"), "{refused}");
    assert!(refused.contains("Risk::UnknownOwner"), "{refused}");
    let mut serving = plays_as(1000, &map, "serves, accepts unknown", &place, &[]);
    assert_eq!(serving.says(), "it serves");
    assert_eq!(plays("asks", &place, &[]), "answered hello");
    drop(serving);
    assert_eq!(plays("binds, accepts unknown", &place, &[]), "bound");

    // Plain names need no such word: their directory is this user's.
    let env = [("XDG_RUNTIME_DIR", scratch.directory().to_str().unwrap())];
    assert_eq!(plays("binds", "name:notes", &env), "bound");

    // What others can write to is refused all the same, and so is a file of a stranger's.
    set_mode(scratch.directory(), 0o777);
    let refused = plays("binds, accepts unknown", &place, &[]);
    assert!(refused.contains("others can write"), "{refused}");
    set_mode(scratch.directory(), 0o755);
    crate::common::leave_socket(&scratch.path("socket"));
    let refused = plays("binds, accepts unknown", &place, &[]);
    assert!(refused.contains("a socket of a user that is unmapped"), "{refused}");
    // And a server of root's is a stranger's.
    let place = at_abstract_name();
    let _serving = Serving::with_access(&place, &Access::Everyone).unwrap();
    let refused = plays("asks", &place, &[]);
    assert!(refused.starts_with("failed Insecure"), "{refused}");
}
