//! The roles of the other process.

use super::{
    ANNA, BERT, PART, PLACE, SAYS, User, ask, echo, endpoint_of, first_words, own, own_uid,
    there_are_others,
};
use crate::common::Scratch;
use msgpipe::{Access, MessageServer, Principal, Risk, ServerOptions, Trust};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;

fn say(words: &str) {
    println!("{SAYS}{words}");
}

/// The address of a place, computed without this crate.
fn address_of(place: &str) -> SocketAddr {
    match place.split_once(':') {
        Some(("abstract", name)) => SocketAddr::from_abstract_name(name).unwrap(),
        Some(("path", path)) => SocketAddr::from_pathname(path).unwrap(),
        _ => panic!("no address: {place}"),
    }
}

/// Connects as any program can, sends `words`, and reads what there is until it is closed. An error
/// is that of connecting, by its number.
pub fn connect_plainly(place: &str, words: &[u8]) -> Result<Vec<u8>, i32> {
    let mut socket =
        UnixStream::connect_addr(&address_of(place)).map_err(|e| e.raw_os_error().unwrap())?;
    // A client that is closed at once cannot write, and notices it when it reads.
    let _ = socket.write_all(words);
    let mut heard = Vec::new();
    // An end with something unread before it is told as an error, behind all there was to read.
    let _ = socket.read_to_end(&mut heard);
    Ok(heard)
}

/// Holds `count` connections that the server has accepted: each has got its preface.
fn holds(count: usize, place: &str) {
    let hold = |_| {
        let mut socket = UnixStream::connect_addr(&address_of(place)).unwrap();
        socket.write_all(&first_words()[..16]).unwrap();
        socket.read_exact(&mut [0; 16]).unwrap();
        socket
    };
    let held: Vec<UnixStream> = (0..count).map(hold).collect();
    say("it holds");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(held);
}

/// How a plain connect ended, in words.
pub fn plainly(place: &str, words: &[u8]) -> String {
    match connect_plainly(place, words) {
        Ok(heard) => format!("heard {}", hex(&heard)),
        Err(error) => format!("refused {error}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trust_in(words: &str) -> Trust {
    let number = |number: &str| number.parse().unwrap();
    match words.split_once(' ') {
        Some(("uid", uid)) => Trust::Only(vec![Principal::Uid(number(uid))]),
        Some(("gid", gid)) => Trust::Only(vec![Principal::Gid(number(gid))]),
        _ if words == "anyone" => Trust::Anyone,
        _ => Trust::SameUser,
    }
}

/// Options and umask: `everyone`, `uid N` or `mode N` (who gets in), `accepts unknown`, `umask N`.
fn options_in(words: &str) -> (ServerOptions, u32) {
    let (mut options, mut umask) = (ServerOptions::new(), 0o022);
    let octal = |number: &str| u32::from_str_radix(number, 8).unwrap();
    for word in words.split(", ").filter(|word| !word.is_empty()) {
        options = match word.split_once(' ') {
            None if word == "everyone" => options.access(Access::Everyone),
            None => options,
            Some(("uid", uid)) => {
                let principals =
                    [Principal::Uid(uid.parse().unwrap()), Principal::Gid(uid.parse().unwrap())];
                options.access(Access::Only(principals.to_vec()))
            }
            Some(("mode", mode)) => {
                options.access(Access::Custom { sddl: None, mode: Some(octal(mode)) })
            }
            Some(("accepts", "unknown")) => options.accept_risk(Risk::UnknownOwner),
            Some(("umask", number)) => {
                umask = octal(number);
                options
            }
            _ => panic!("no option {word:?}"),
        };
    }
    (options, umask)
}

/// Serves in the directory `one` by a relative path, changes to `two`, where the same names are
/// somebody else's, and ends. What it called itself, and what is left in both.
fn changes_its_directory(place: &str) -> String {
    let (_, scratch) = place.split_once(':').unwrap();
    let directory = |name: &str| std::path::Path::new(scratch).join(name);
    let left = |name: &str| {
        let entries = std::fs::read_dir(directory(name)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for name in ["one", "two"] {
        std::fs::create_dir(directory(name)).unwrap();
    }
    std::env::set_current_dir(directory("one")).unwrap();
    let server = ServerOptions::new().bind_messages(msgpipe::Endpoint::path("s.sock").unwrap());
    let server = server.unwrap();
    let called = server.endpoint().to_owned();
    for name in left("one") {
        std::fs::write(directory("two").join(name), "").unwrap();
    }
    std::env::set_current_dir(directory("two")).unwrap();
    drop(server);
    format!("served {called}; one: {:?}; two: {:?}", left("one"), left("two"))
}

/// An error by its name, and in words.
pub fn failed(error: &msgpipe::Error) -> String {
    use msgpipe::Error;
    let name = match error {
        Error::AlreadyServed { .. } => "AlreadyServed",
        Error::Closed { .. } => "Closed",
        Error::Insecure { .. } => "Insecure",
        Error::NoServer { .. } => "NoServer",
        Error::System { .. } => "System",
        _ => "otherwise",
    };
    format!("failed {name}: {error}")
}

fn removes(place: &str) -> String {
    let (_, path) = place.split_once(':').unwrap();
    match rustix::fs::unlink(path) {
        Ok(()) => "removed".to_owned(),
        Err(rustix::io::Errno::PERM) => "failed EPERM".to_owned(),
        Err(error) => format!("failed {error:?}"),
    }
}

fn play(part: &str, place: &str) {
    let (part, how) = match part.split_once(", ") {
        Some((part, how)) if !part.starts_with("serves relatively") => (part, how),
        _ => (part, ""),
    };
    match part {
        "tells who it is" => say(&format!("{} {}", own_uid(), rustix::process::getegid().as_raw())),
        "connects plainly" => say(&plainly(place, &first_words())),
        "holds" => holds(how.parse().unwrap(), place),
        "sends nonsense" => say(&plainly(place, &[0xA5; 64])),
        "asks" => match ask(place, trust_in(how)) {
            Ok(answer) => say(&format!("answered {answer}")),
            Err(error) => say(&failed(&error)),
        },
        "serves" => {
            let (options, umask) = options_in(how);
            rustix::process::umask(umask.into());
            let mut server = options.bind_messages(endpoint_of(place)).unwrap();
            say("it serves");
            echo(&mut server);
        }
        "names its client" => {
            let (options, _) = options_in(how);
            let mut server = options.bind_messages(endpoint_of(place)).unwrap();
            say("it serves");
            let id = crate::common::connected(&mut server);
            say(&format!("{:?}", server.peer(id).unwrap()));
            echo(&mut server);
        }
        "locates" => match endpoint_of(place).locate() {
            Ok(path) => say(&path.display().to_string()),
            Err(error) => say(&failed(&error)),
        },
        "removes" => say(&removes(place)),
        "serves relatively, and changes its directory" => say(&changes_its_directory(place)),
        "listens plainly" => {
            let listener = UnixListener::bind_addr(&address_of(place)).unwrap();
            if let Some(("path", path)) = place.split_once(':') {
                crate::common::set_mode(path.as_ref(), 0o666);
            }
            say("it listens");
            let (mut client, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let _ = client.read_to_end(&mut heard);
            say(&format!("heard {}", hex(&heard)));
        }
        "leaves a socket" => {
            drop(UnixListener::bind_addr(&address_of(place)).unwrap());
            say("it has left");
        }
        "binds" => match options_in(how).0.bind_messages(endpoint_of(place)) {
            Ok(server) => {
                drop(server);
                say("bound");
            }
            Err(error) => say(&failed(&error)),
        },
        "holds a lock" => {
            let (_, path) = place.split_once(':').unwrap();
            let file = std::fs::File::create(path).unwrap();
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
            say("it is locked");
            loop {
                thread::park();
            }
        }
        part => panic!("no part {part:?}"),
    }
}

#[test]
fn another_process_plays_its_role() {
    let place = std::env::var(PLACE).unwrap_or_default();
    if let Ok(part) = std::env::var(PART) {
        return play(&part, &place);
    }
    // In this process: whether roles can be run, and by which users.
    let who = own();
    assert_eq!(who.plays("tells who it is", "").says(), format!("{} {}", who.uid, who.gid));
    if there_are_others() {
        for who in [ANNA, BERT, User { groups: &[60_013], ..ANNA }] {
            let said = who.plays("tells who it is", "").says();
            assert_eq!(said, format!("{} {}", who.uid, who.gid));
            // And that it is not root by another name: what only root may enter is closed to it.
            let closed = Scratch::new();
            let place = super::at_path(&closed.path("socket"));
            assert_eq!(who.plays("connects plainly", &place).says(), "refused 13");
        }
    }
}
