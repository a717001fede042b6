//! The C programs in `tests/foreign`, which use the Win32 API and not this crate.

use super::program::{Ended, Program};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

impl Program {
    /// Starts one of the programs.
    #[track_caller]
    pub fn start<A: ToString>(
        name: &'static str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Program {
        let mut command = Command::new(find(name));
        command.args(arguments.into_iter().map(|argument| argument.to_string()));
        Program::spawn(name, command)
    }
}

impl Ended {
    /// Its output after a successful end.
    #[track_caller]
    pub fn succeeded(self) -> Vec<String> {
        assert_eq!((self.status, self.errors.as_str()), (Some(0), ""), "{self:?}");
        self.lines
    }
}

/// The path of a program: from scripts/test-windows, or compiled here.
fn find(name: &str) -> PathBuf {
    match std::env::var_os("MSGPIPE_FOREIGN") {
        Some(directory) => Path::new(&directory).join(name).with_extension("exe"),
        None => compile(name),
    }
}

/// Without a compiler.
const ADVICE: &str = "these tests talk to programs in C: put the gcc of mingw-w64 into PATH, or name \
    it by CC, or compile tests/foreign/*.c elsewhere and say by MSGPIPE_FOREIGN in which directory";

/// Compiles a program, unless it is newer than its source.
fn compile(name: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let source = sources.join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("exe");
    let written = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let sources = [written(&source), written(&sources.join("win.h"))];
    if written(&program).is_some_and(|at| sources.iter().flatten().all(|source| *source < at)) {
        return program;
    }
    // Renamed when complete: other test programs may compile the same program.
    let part = program.with_extension(format!("{}.part.exe", std::process::id()));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".to_owned());
    let mut command = Command::new(&compiler);
    let output = command.args(["-std=c11", "-O1", "-o"]).arg(&part).arg(&source).output();
    let output =
        output.unwrap_or_else(|error| panic!("{compiler} does not run ({error}): {ADVICE}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} cannot compile {name}.c: {ADVICE}\n{said}");
    // Nothing is lost if another test program was faster.
    let renamed = std::fs::rename(&part, &program);
    assert!(renamed.is_ok() || program.exists(), "{renamed:?}");
    program
}
