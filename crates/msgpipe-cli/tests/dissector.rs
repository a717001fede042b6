//! The dissector for Wireshark: that it is what the protocol's page says, and what tshark makes of a capture with it.
#![cfg(target_os = "linux")]

mod common;

use common::{Running, name, scratch, succeeds};
use std::fs;
use std::path::Path;
use std::process::Command;

fn in_repository(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file).display().to_string()
}

#[test]
fn it_is_made_from_the_page() {
    let checked = Command::new(in_repository("scripts/make-dissector")).arg("--check").output();
    let checked = checked.expect("python3 is here, as for other tests");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn tshark_reads_a_capture_with_it() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("skipped: tshark is not installed");
        return;
    }
    let (name, directory) = (name("captured"), scratch("captured"));
    let file = directory.join("captured.pcap").display().to_string();
    let _server = Running::start(&["serve", &name, "--echo"]);
    let tap = Running::spawn(&["tap", &name, "--pcap", &file, "-c", "20"]);
    while tap.finished().is_none() {
        succeeds(&["call", &name, "hello", "-m", "7"]);
    }
    let script = format!("lua_script:{}", in_repository("docs/wireshark/msgpipe.lua"));
    let mut tshark = Command::new("tshark");
    tshark.args(["-X", &script, "-r", &file, "-V"]).env("HOME", &directory);
    let read = tshark.output().unwrap();
    let said = String::from_utf8_lossy(&read.stdout);
    for expected in [
        "Kind: request (1)",
        "Kind: data (2)",
        "Kind: settings (11)",
        "Method: Unknown (7)",
        "end of message, end of stream",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(!said.contains("Lua Error"), "{said}");
    fs::remove_dir_all(directory).unwrap();
}
