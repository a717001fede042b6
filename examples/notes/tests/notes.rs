//! The program as a person uses it: each command is a process.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Notes in a directory of their own, with a service of their own.
struct Notes {
    name: String,
    directory: PathBuf,
}

impl Notes {
    fn new() -> Notes {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("msgpipe.notes.{}.{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        Notes { name, directory }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_notes"));
        command.args(arguments).env("NOTES_NAME", &self.name).env("NOTES_DIR", &self.directory);
        command.stdin(Stdio::null());
        command
    }

    /// Exit status, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let output = self.command(arguments.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// What a command prints that must succeed.
    fn says(&self, arguments: &[&str]) -> String {
        let (status, says, complains) = self.run(arguments);
        assert!(status.success(), "{arguments:?}: {status}: {complains}");
        says
    }

    /// The service as a child process, which listens.
    fn serve(&self) -> Child {
        let mut child = self.command(["serve"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening at "), "{line}");
        child
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

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
fn what_is_exported_can_be_imported() {
    let (notes, others) = (Notes::new(), Notes::new());
    let texts = ["milk", "", "a\nb", "back\\slash", "\\n is no line end", "Käse"];
    for text in texts {
        notes.says(&["add", text]);
    }
    let file = notes.path("exported");
    let file = file.to_str().unwrap();
    notes.says(&["export", file]);
    assert_eq!(notes.says(&["export"]), fs::read_to_string(file).unwrap().replace("\r\n", "\n"));
    assert_eq!(others.says(&["import", file]), "6\n");
    assert_eq!(others.says(&["list"]), notes.says(&["list"]));
    // Many of them.
    let many: String = (0..20_000).map(|number| format!("note {number}\n")).collect();
    fs::write(file, &many).unwrap();
    assert_eq!(others.says(&["import", file]), "20000\n");
    others.says(&["export", file]);
    assert!(fs::read_to_string(file).unwrap().ends_with(&many));
    assert!(!Path::new(file).with_extension("part").exists());
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
