//! The command as a user runs it: what it prints, and how it ends.

mod common;

#[cfg(unix)]
use common::output;
use common::{Running, name, run, scratch, succeeds};
use std::fs;

#[test]
fn a_server_is_pinged_called_inspected_and_listed() {
    let name = name("echo");
    let server = Running::start(&["serve", &name, "--echo"]);
    let pinged = succeeds(&["ping", &name, "-c", "2", "-i", "1ms"]);
    assert!(pinged.contains("2 of 2 replies"), "{pinged}");
    assert_eq!(succeeds(&["call", &name, "hello"]), "hello");
    assert_eq!(succeeds(&["call", &name]), "");
    let info = succeeds(&["inspect", &name]);
    assert!(info.contains("requests_replied"), "{info}");
    let json: serde_json::Value =
        serde_json::from_str(&succeeds(&["inspect", &name, "--json"])).unwrap();
    assert_eq!(json["pid"], server.id());
    if let Some(listed) = listed() {
        let it = listed.iter().find(|it| it["name"] == *name).expect("it is listed");
        assert_eq!((&it["state"], &it["pid"]), (&"live".into(), &server.id().into()));
    }
    server.stop();
    if let Some(listed) = listed() {
        assert!(!listed.iter().any(|it| it["name"] == *name), "{listed:?}");
    }
    let (status, _, errors) = run(&["call", &name, "hello"], b"");
    assert_eq!(status, 3, "{errors}");
    assert!(errors.contains("no server at"), "{errors}");
}

/// `None` under Wine, which has no list of pipes.
fn listed() -> Option<Vec<serde_json::Value>> {
    let (status, listed, errors) = run(&["list", "--json"], b"");
    if status == 5 && cfg!(windows) && errors.contains("os error 66") {
        println!("skipped: what the system lists");
        return None;
    }
    assert_eq!(status, 0, "{errors}");
    Some(serde_json::from_str(&listed).unwrap())
}

#[test]
fn requests_come_from_anywhere_and_replies_go_anywhere() {
    let (name, directory) = (name("anywhere"), scratch("anywhere"));
    let _server = Running::start(&["serve", &name, "--echo"]);
    let (status, said, _) = run(&["call", &name, "-"], b"from standard input");
    assert_eq!((status, said.as_str()), (0, "from standard input"));
    let (from, to) = (directory.join("from"), directory.join("to"));
    let bytes: Vec<u8> = (0..100_000).map(|i| (i * 7) as u8).collect();
    fs::write(&from, &bytes).unwrap();
    let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
    assert_eq!(succeeds(&["call", &name, "--file", paths[0], "--output", paths[1]]), "");
    assert!(fs::read(&to).unwrap() == bytes, "other bytes");
    // One over the limit is refused before anything is sent.
    let (status, _, errors) =
        run(&["call", &name, "--file", paths[0], "--message-limit", "99999"], b"");
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("--upload"), "{errors}");
    let (status, _, errors) = run(&["call", &name, "--file", "no/such/file"], b"");
    assert_eq!(status, 5, "{errors}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_error_reply_has_a_status_of_its_own() {
    let name = name("refusing");
    let _server = Running::start(&["serve", &name, "--echo"]);
    // It takes requests of one message only.
    let (status, _, errors) = run(&["call", &name, "--upload", "-"], b"in parts");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("requests of one message"), "{errors}");
    let (status, _, errors) = run(&["call", &name, "-m", "0xffffffff"], b"");
    assert_eq!(status, 1, "{errors}");
}

#[test]
fn a_wrong_command_line_is_said_to_be_so() {
    for wrong in [
        &["call"][..],
        &["call", "no spaces", "x"],
        &["serve", "a"],
        &["serve", "a", "--echo", "--exec", "b"],
        &["ping", "a", "-c", "0"],
        &["ping", "a", "-t", "5"],
        &["ping", "a", "-F", "lines"],
        &["call", "a", "--message-limit", "0"],
        &["call", "a", "b", "--file", "c"],
        &["bench", "--size", "17", "--message-limit", "16"],
        &["tap", "a", "--json", "--pcap", "b"],
    ] {
        let (status, _, errors) = run(wrong, b"");
        assert_eq!(status, 2, "{wrong:?}: {errors}");
        assert!(!errors.is_empty(), "{wrong:?}");
    }
}

#[test]
fn servers_of_other_programs_are_spoken_to_in_their_framing() {
    for framing in ["lines", "len32be", "len32le", "os"] {
        let name = name(framing);
        let _server = Running::start(&["serve", &name, "--echo", "-F", framing]);
        assert_eq!(succeeds(&["call", &name, "hello", "-F", framing]), "hello", "{framing}");
    }
}

#[test]
fn a_tap_shows_what_is_sent() {
    let (name, directory) = (name("tapped"), scratch("tapped"));
    let server = Running::start(&["serve", &name, "--echo"]);
    let tap = Running::spawn(&["tap", &name, "--json", "-c", "5"]);
    // It looks on once it is among the server's clients; its first calls are not seen.
    let mut called = 0;
    let lines = loop {
        succeeds(&["call", &name, "seen"]);
        called += 1;
        if let Some(lines) = tap.finished() {
            break lines;
        }
        assert!(called < 10_000, "it sees nothing");
    };
    let seen: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().any(|it| it["kind"] == "request" || it["what"] == "connected"), "{lines}");
    let file = directory.join("tapped.pcap");
    let tap = Running::spawn(&["tap", &name, "--pcap", file.to_str().unwrap(), "-c", "3"]);
    while tap.finished().is_none() {
        succeeds(&["call", &name, "seen"]);
    }
    let capture = fs::read(&file).unwrap();
    assert_eq!(capture[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    assert!(capture.len() > 24 + 3 * 16, "{}", capture.len());
    server.stop();
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_bench_measures_its_own_server_or_another() {
    let (name, directory) = (name("measured"), scratch("measured"));
    let _server = Running::start(&["serve", &name, "--echo"]);
    let picture = directory.join("times.svg");
    let own = ["bench", "--time", "20ms", "--size", "64,65536", "--svg", picture.to_str().unwrap()];
    let other = ["bench", &name, "--time", "20ms", "--size", "64", "-n", "16"];
    for arguments in [&own[..], &other] {
        let table = succeeds(arguments);
        assert!(table.contains("calls/s") && table.contains("up to"), "{table}");
    }
    let picture = fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_doctor_finds_nothing_wrong_with_this_machine() {
    let (status, said, errors) = run(&["doctor"], b"");
    assert_eq!(status, 0, "{said}{errors}");
    assert!(said.contains("found each other"), "{said}");
}

#[cfg(unix)]
#[test]
fn the_doctor_finds_what_is_wrong() {
    let mut command = common::command(&["doctor"]);
    let output = output(command.env("XDG_RUNTIME_DIR", "/no/such/directory"));
    assert_eq!(output.0, 1, "{output:?}");
    assert!(output.1.contains("WRONG") && output.1.contains("/no/such/directory"), "{output:?}");
}

#[test]
fn shells_and_manuals_are_made_of_the_same_definition() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(succeeds(&["completions", shell]).contains("message-limit"), "{shell}");
    }
    let page = succeeds(&["man"]);
    assert!(page.contains(".TH msgpipe") && page.contains("Exit status"), "{page}");
    let help = succeeds(&["--help"]);
    assert!(help.contains("Exit status:"), "{help}");
}
