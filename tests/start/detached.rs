//! What a started server has of its client on Unix: neither its session nor its descriptors; and who waits for its end.

use super::roles::{FILES, Scene};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, getsid, kill_process_group};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

fn pid(text: &[u8]) -> Pid {
    Pid::from_raw(String::from_utf8_lossy(text).parse().unwrap()).unwrap()
}

#[test]
fn ctrl_c_at_the_clients_terminal_does_not_end_the_server() {
    let scene = Scene::new();
    let mut command = scene.command("client that stays");
    // A terminal sends the signal to the foreground process group: this one, in the place of a shell's job.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = super::roles::Talker::start(&mut command);
    assert_eq!(client.says(), "connected");
    let server = msgpipe::Client::connect(scene.name.as_str()).unwrap();
    let server_pid = pid(&server.call("").unwrap());
    let client_pid = Pid::from_raw(client.process.id().try_into().unwrap()).unwrap();
    assert_eq!(getsid(Some(server_pid)).unwrap(), server_pid, "it has a session of its own");
    kill_process_group(client_pid, Signal::INT).unwrap();
    client.process.wait().unwrap();
    assert_eq!(pid(&server.call("").unwrap()), server_pid);
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_inherits_no_descriptors_and_leaves_no_zombie() {
    let scene = Scene::new();
    // Like one of a library in C: it stays open over an exec.
    let path = std::env::temp_dir().join(format!("{}.inherited", scene.name));
    let inherited = rustix::fs::open(&path, OFlags::CREATE | OFlags::RDWR, Mode::RWXU).unwrap();
    let client = scene.connect("server").unwrap();
    let server = pid(&client.call("").unwrap());
    let files = client.with_method(FILES).call("").unwrap();
    let files = String::from_utf8_lossy(&files).into_owned();
    assert!(files.contains("/dev/null") && files.contains(".stderr (deleted)"), "{files}");
    assert!(!files.contains(".inherited") && !files.contains("msgpipe-start"), "{files}");
    drop(inherited);
    std::fs::remove_file(&path).unwrap();
    scene.stop();
    // A zombie would stay here.
    let process = format!("/proc/{}", server.as_raw_nonzero());
    while std::path::Path::new(&process).exists() {
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_starts_again_and_again_keeps_nothing() {
    let scene = Scene::new();
    let mut client = scene.talker("client that starts again and again");
    assert_eq!(client.says(), "0 descriptors more");
    assert_eq!(client.says(), "0 threads more");
    assert_eq!(scene.noted_so("bound"), 21);
}
