//! Notes of a test, and the program that keeps them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Notes in a directory of their own, with a service of their own.
pub struct Notes {
    pub name: String,
    pub directory: PathBuf,
}

impl Notes {
    pub fn new() -> Notes {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("msgpipe.notes.{}.{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        Notes { name, directory }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_notes"));
        command.args(arguments).env("NOTES_NAME", &self.name).env("NOTES_DIR", &self.directory);
        command.stdin(Stdio::null());
        command
    }

    /// Exit status, standard output, standard error.
    pub fn run(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let output = self.command(arguments.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// What a command prints that must succeed.
    pub fn says(&self, arguments: &[&str]) -> String {
        let (status, says, complains) = self.run(arguments);
        assert!(status.success(), "{arguments:?}: {status}: {complains}");
        says
    }

    /// The service as a child process, which listens.
    pub fn serve(&self) -> Child {
        let mut child = self.command(["serve"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening at "), "{line}");
        child
    }

    /// Ends a service that a test has started itself.
    pub fn end(&self, mut service: Child) {
        self.says(&["stop"]);
        assert!(service.wait().unwrap().success());
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}
