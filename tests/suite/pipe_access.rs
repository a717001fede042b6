//! Who gets to a pipe. Wine lets everybody in: there these tests show that nothing else goes wrong, and
//! say so. What is asked of the system is tested beside the code, in `backends/named_pipe`.

use crate::common::program::Program;
use crate::common::{PATIENCE, closed, connected, message, on_wine, unique_name};
use msgpipe::framing::OsMessage;
use msgpipe::{
    Access, ClientOptions, Endpoint, Error, Instances, LocalServer, MessageClient, MessageServer,
    Principal, ServerOptions, Trust,
};
use std::fs::OpenOptions;

const ACCESS_DENIED: i32 = 5;
const FILE_NOT_FOUND: i32 = 2;
const INVALID_OWNER: i32 = 1307;

fn unique_pipe() -> String {
    format!(r"\\.\pipe\{}", unique_name())
}

/// Whether the system enforces access lists.
fn is_enforced() -> bool {
    if on_wine() {
        println!("skipped: that the system refuses. Wine does not");
    }
    !on_wine()
}

/// One instance, with this access list for the pipe of the user who runs the tests. Whoever is on it
/// stands for anybody: as the owner one may do nothing more with a pipe.
fn listen(pipe: &str, list: &str) -> LocalServer {
    let sid = own_sid();
    let sddl = Some(list.replace("SID", &sid));
    ServerOptions::new()
        .access(Access::Custom { sddl, mode: None })
        .instances(Instances::Fixed(1))
        .framing(OsMessage::new(4096))
        .bind_messages(Endpoint::pipe(pipe).unwrap())
        .unwrap()
}

fn own_sid() -> String {
    let name = unique_name();
    let server = LocalServer::bind(name.as_str()).unwrap();
    server.endpoint().rsplit_once(&format!("{name}.")).unwrap().1.to_owned()
}

fn connect(pipe: &str) -> Result<MessageClient, Error> {
    let options = ClientOptions::new().framing(OsMessage::new(4096));
    options.connect_messages(Endpoint::pipe(pipe).unwrap())
}

#[track_caller]
fn is_served(client: &MessageClient, server: &mut LocalServer) {
    client.send("hello").unwrap();
    let (id, hello) = message(server);
    server.send(id, hello).unwrap();
    assert!(server.poll(Some(std::time::Duration::ZERO)).unwrap().is_none());
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "hello");
}

#[test]
fn a_served_name_is_not_joined() {
    let pipe = unique_pipe();
    // Of four instances at most, which are there: that alone Wine would refuse.
    let mut other = Program::start("overlapped_server", [pipe.as_str(), "4"]);
    assert_eq!(other.line(), "listening");
    match LocalServer::bind(Endpoint::pipe(&pipe).unwrap()).unwrap_err() {
        Error::AlreadyServed { endpoint } => assert_eq!(*endpoint, *pipe),
        error => panic!("{error}"),
    }
    other.end().succeeded();
    // Of as many as there are to be: that is refused for not being the first.
    let _server = LocalServer::bind(Endpoint::pipe(&pipe).unwrap()).unwrap();
    let second = LocalServer::bind(Endpoint::pipe(&pipe).unwrap());
    if is_enforced() {
        assert!(matches!(second, Err(Error::AlreadyServed { .. })), "{second:?}");
    }
}

/// The right to write must not contain the one to add instances, which would take clients away. A client
/// that asks for it with the generic right to write, as clients do that exist already, is let in
/// nevertheless: the system does not count that right for who opens. That it grants the one and refuses the
/// other only Windows shows; here it is what the list says that is read back, by the client's own handle.
#[test]
fn a_client_connects_with_generic_rights_and_cannot_serve_the_name() {
    let sid = own_sid();
    for (list, rights, may_add) in [
        // The rights of others, and all rights.
        ("D:P(A;;0x12019b;;;SID)", ["0x12019b", "0x12019b"], false),
        ("D:P(A;;GA;;;SID)", ["GA", "FA"], true),
    ] {
        let pipe = unique_pipe();
        let _server = listen(&pipe, list);
        let said = Program::start("full_access", [&pipe]).end().succeeded();
        let [opened, found, tried] = &said[..] else { panic!("{said:?}") };
        let lists = rights.map(|rights| format!("D:P(A;;{rights};;;{sid})"));
        assert!(lists.contains(found), "{list}: {found}");
        assert_eq!(opened, "opened", "{list}");
        if may_add || is_enforced() {
            let expected = if may_add { "added" } else { "refused 5" };
            assert_eq!(tried, expected, "{list}");
        }
    }
}

#[test]
fn a_user_who_is_not_in_the_list_is_refused() {
    let pipe = unique_pipe();
    for list in ["D:P", "D:P(D;;GA;;;WD)", "D:P(A;;GR;;;SID)"] {
        let mut server = listen(&pipe, list);
        let came = connect(&pipe);
        if is_enforced() {
            match came.unwrap_err() {
                Error::System { cause, .. } => {
                    assert_eq!(cause.raw_os_error(), Some(ACCESS_DENIED), "{list}: {cause}");
                }
                error => panic!("{list}: {error}"),
            }
        } else {
            connected(&mut server);
            is_served(&came.unwrap(), &mut server);
        }
    }
    let mut server = listen(&pipe, "D:P(A;;0x12019b;;;SID)");
    let client = connect(&pipe).unwrap();
    connected(&mut server);
    is_served(&client, &mut server);
}

/// .NET's `CurrentUserOnly` in a process with raised rights wants the Administrators as the owner. A server
/// that names them is no longer its user's for clients of this crate: they must say that they trust them.
#[test]
fn clients_see_the_owner_that_the_server_sets() {
    const ADMINISTRATORS: &str = "S-1-5-32-544";
    let pipe = unique_pipe();
    let endpoint = Endpoint::pipe(&pipe).unwrap();
    let sddl = Some(format!("O:BAD:P(A;;GA;;;{})(A;;GA;;;SY)", own_sid()));
    let options = ServerOptions::new().access(Access::Custom { sddl, mode: None });
    let mut server = match options.framing(OsMessage::new(4096)).bind_messages(&endpoint) {
        Err(Error::System { cause, .. }) if cause.raw_os_error() == Some(INVALID_OWNER) => {
            assert!(!on_wine(), "{cause}");
            return println!("skipped: without raised rights Windows lets nobody name them");
        }
        bound => bound.unwrap(),
    };
    let error = connect(&pipe).unwrap_err();
    assert!(matches!(error, Error::Insecure { .. }), "{error}");
    assert!(error.to_string().contains(ADMINISTRATORS), "{error}");
    // It has come and gone.
    let refusing = connected(&mut server);
    assert_eq!(closed(&mut server).0, refusing);
    let trust = Trust::Only(vec![Principal::Sid(ADMINISTRATORS.into())]);
    let options = ClientOptions::new().framing(OsMessage::new(4096)).trust(trust);
    let client = options.connect_messages(&endpoint).unwrap();
    assert_eq!(client.server().sid.as_deref(), Some(ADMINISTRATORS));
    connected(&mut server);
    is_served(&client, &mut server);
}

/// A child process gets the handles that may be inherited. One of a pipe would keep the name taken, and
/// its client waiting, for as long as the child lives.
#[test]
fn a_child_process_inherits_no_handle() {
    for instances in [Instances::Unlimited, Instances::Fixed(2)] {
        let pipe = unique_pipe();
        let endpoint = Endpoint::pipe(&pipe).unwrap();
        let options = ServerOptions::new().instances(instances).framing(OsMessage::new(4096));
        let mut server = options.bind_messages(&endpoint).unwrap();
        let client = connect(&pipe).unwrap();
        connected(&mut server);
        is_served(&client, &mut server);

        let elsewhere = unique_pipe();
        let _other = options.bind_messages(Endpoint::pipe(&elsewhere).unwrap()).unwrap();
        let mut child = Program::start("silent_client", [&elsewhere]);
        assert_eq!(child.line(), "open");
        drop(server);
        assert!(matches!(client.receive(Some(PATIENCE)), Err(Error::Closed { .. })));
        drop(client);
        let gone = OpenOptions::new().read(true).write(true).open(&pipe).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(FILE_NOT_FOUND), "{instances:?}: {gone}");
        child.end().succeeded();
    }
}
