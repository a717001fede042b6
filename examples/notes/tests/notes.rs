//! The program as a person uses it: each command is a process.
#![forbid(unsafe_code)]

mod notes {
    mod clients;
    mod files;
    pub mod place;
}

use notes::place::Notes;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn notes_are_kept_and_the_service_is_started_when_it_is_needed() {
    let notes = Notes::new();
    assert_eq!(notes.says(&["stop"]), "", "there is none to be stopped");
    assert_eq!(notes.says(&["add", "milk"]), "1\n");
    assert_eq!(notes.says(&["add", "Käse und\nBrot"]), "2\n");
    assert_eq!(notes.says(&["list"]), "1\tmilk\n2\tKäse und\nBrot\n");
    assert_eq!(notes.says(&["get", "1"]), "milk\n");
    let status = notes.says(&["status"]);
    assert!(status.contains("2 notes\n1 clients, 0 watch\n"), "{status}");
    notes.says(&["stop"]);
    assert_eq!(notes.says(&["get", "2"]), "Käse und\nBrot\n", "started again");
}

#[test]
fn errors_are_said_with_their_reason() {
    let notes = Notes::new();
    for (arguments, code, says) in [
        (&["get", "7"][..], 1, "there is no note 7"),
        (&["get", "seven"], 1, "this is no number of a note"),
        (&["import", "no such file"], 1, "no such file: "),
        (&["export", "no such directory/file"], 1, "no such directory/file: "),
        (&["drink"], 2, "usage: notes add TEXT"),
        (&[], 2, "usage: notes add TEXT"),
    ] {
        let (status, output, complains) = notes.run(arguments);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {complains}");
        assert!(output.is_empty() && complains.contains(says), "{arguments:?}: {complains}");
    }
    let long = "x".repeat(64 * 1024 + 1);
    fs::write(notes.path("long"), format!("short\n{long}\n")).unwrap();
    let file = notes.path("long");
    let (status, _, complains) = notes.run(&["import", file.to_str().unwrap()]);
    assert!(!status.success() && complains.contains("65537 bytes"), "{complains}");
    assert_eq!(notes.says(&["list"]), "", "all of them, or none");
}

/// Without a service that can be started the person is told why.
#[test]
fn a_service_that_cannot_start_says_why() {
    let notes = Notes::new();
    fs::write(notes.path("notes.redb"), "this is no store").unwrap();
    let (status, _, complains) = notes.run(&["add", "milk"]);
    assert_eq!(status.code(), Some(1));
    let place = notes.directory.display().to_string();
    assert!(complains.contains(&place), "what the service has said: {complains}");
}

#[test]
fn who_watches_sees_each_new_note_also_of_a_service_that_was_killed() {
    let notes = Notes::new();
    notes.says(&["add", "before"]);
    notes.says(&["stop"]);
    let first = notes.serve();
    let mut watching =
        notes.command(["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let watches = || notes.says(&["status"]).contains("1 watch");
    while !watches() {}
    notes.says(&["add", "milk"]);
    let mut seen = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(seen.next().unwrap().unwrap(), "2\tmilk");
    kill(first);
    // The next command starts another service, and who watches finds it, or the other way round.
    while !watches() {}
    notes.says(&["add", "bread"]);
    assert_eq!(seen.next().unwrap().unwrap(), "3\tbread");
    watching.kill().unwrap();
    let told = watching.wait_with_output().unwrap();
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("some may be missing here"), "{told}");
}

/// Kills the service again and again while notes are added by several processes.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    const ROUNDS: usize = 3;
    let notes = Notes::new();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let service = notes.serve();
        let added: Vec<_> = thread::scope(|scope| {
            let adding: Vec<_> = (0..3)
                .map(|who| {
                    let notes = &notes;
                    scope.spawn(move || {
                        let texts = (0..).map(|number| format!("{round} {who} {number}"));
                        let add = |text: String| {
                            let (status, number, _) = notes.run(&["add", &text]);
                            status.success().then(|| (number.trim().parse::<u64>().unwrap(), text))
                        };
                        // One that was begun when the service was killed may have been kept, and ends this round.
                        texts.map(add).take(20).map_while(|it| it).collect::<Vec<_>>()
                    })
                })
                .collect();
            while !notes.says(&["list"]).contains(&format!("{round} 0 3")) {}
            kill(service);
            adding.into_iter().flat_map(|it| it.join().unwrap()).collect()
        });
        acknowledged.extend(added);
        let listed = notes.says(&["list"]);
        let kept: BTreeMap<u64, String> = listed
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(number, text)| (number.parse().unwrap(), text.to_owned()))
            .collect();
        for (number, text) in &acknowledged {
            assert_eq!(kept.get(number), Some(text), "lost, in round {round}");
        }
        notes.says(&["stop"]);
    }
    assert!(acknowledged.len() >= 3 * ROUNDS, "{acknowledged:?}");
}
