//! The rules. Each takes files and gives a complaint for every place that breaks it.

use super::source::{File, Word, words};

/// The backends, none of which knows another.
pub const BACKENDS: [&str; 4] = ["blocking_stream", "memory", "named_pipe", "unix_socket"];
/// What else is in backends/, each with what there may use it. It knows no backend itself; `os` is the
/// name that backends/mod.rs gives to the one of this system.
pub const SHARED: [(&str, &[&str]); 10] = [
    ("event_loop", &["local_server", "named_pipe", "unix_socket"]),
    ("local_server", &[]),
    ("os", &["local_server", "standard_streams", "tokio_io", "waitable"]),
    ("processes", &[]),
    ("standard_streams", &["local_server"]),
    ("tokio_bytes", &["tokio_io"]),
    ("tokio_io", &["tokio_wait"]),
    ("tokio_poll", &["named_pipe", "tokio_bytes", "unix_socket"]),
    ("tokio_wait", &[]),
    ("waitable", &["named_pipe", "unix_socket"]),
];

/// A line may be this far below the comment that speaks for it.
const SAFETY_LINES: usize = 6;
const MOST_LINES: usize = 400;

pub fn os_in_src(files: &[File]) -> Vec<String> {
    const CRATES: [&str; 6] =
        ["interprocess", "libc", "mio", "rustix", "widestring", "windows_sys"];
    const PREDICATES: [&str; 6] =
        ["windows", "unix", "target_os", "target_family", "target_env", "target_vendor"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_in(&["src"])) {
        for word in file.words() {
            let after = after(&file.code, word);
            match word.text {
                name if CRATES.contains(&name) => {
                    complaints.push(file.complaint(word.start, &format!("names `{name}`")));
                }
                "os" if after.starts_with("::") => {
                    complaints.push(file.complaint(word.start, "uses `std::os`"));
                }
                "cfg_select" => complaints.push(file.complaint(word.start, "uses `cfg_select`")),
                "cfg" | "cfg_attr" => {
                    let inside = in_parentheses(after.trim_start_matches('!'));
                    for predicate in words(inside).iter().filter(|w| PREDICATES.contains(&w.text)) {
                        let what = format!("asks for `{}`", predicate.text);
                        complaints.push(file.complaint(word.start, &what));
                    }
                }
                _ => {}
            }
        }
    }
    complaints
}

/// The benchmark's floor on Windows is the plain Win32 loop that this crate is measured against: it
/// cannot be written with the backends it is compared to, nor without calls that are unsafe.
const WIN32_FLOOR: &str = "benches/ipc/win32_floor.rs";

pub fn unsafe_outside_backends(files: &[File]) -> Vec<String> {
    let rooms = ["src", "tests", "examples", "benches"];
    let complaints = word_in(files, &rooms, &["unsafe"]);
    complaints.into_iter().filter(|complaint| !complaint.starts_with(WIN32_FLOOR)).collect()
}

/// `lib.rs` cannot forbid it for the whole crate, which backends/ is a part of; its modules can.
pub fn modules_without_forbid(files: &[File]) -> Vec<String> {
    let Some(lib) = files.iter().find(|f| f.path == "src/lib.rs") else {
        return vec!["src/lib.rs: not found".to_owned()];
    };
    let mut complaints = Vec::new();
    for pair in lib.words().windows(2) {
        let (keyword, name) = (pair[0], pair[1]);
        if keyword.text != "mod" || name.text == "backends" {
            continue;
        }
        if !after(&lib.code, name).starts_with(';') {
            let what = format!("module `{}` has no file of its own", name.text);
            complaints.push(lib.complaint(name.start, &what));
            continue;
        }
        let paths = [format!("src/{}.rs", name.text), format!("src/{}/mod.rs", name.text)];
        match files.iter().find(|f| paths.contains(&f.path)) {
            Some(file) if file.code.lines().any(|l| l.trim() == "#![forbid(unsafe_code)]") => {}
            Some(file) => complaints.push(file.complaint(0, "no `#![forbid(unsafe_code)]`")),
            None => complaints.push(lib.complaint(name.start, "module without a file")),
        }
    }
    complaints
}

pub fn path_attributes(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut wanted = 0;
    for file in files.iter().filter(|f| f.is_in(&["src", "backends"])) {
        for word in file.words() {
            let after = after(&file.code, word);
            let is_path = |w: &Word<'_>, next: &str| w.text == "path" && next.starts_with('=');
            if word.text == "cfg_attr" {
                let inside = in_parentheses(after);
                if words(inside).iter().any(|w| is_path(w, self::after(inside, *w))) {
                    complaints.push(file.complaint(word.start, "a path that depends on `cfg`"));
                }
            }
            if !is_path(&word, after) || !file.code[..word.start].ends_with("#[") {
                continue;
            }
            let line = file.text.lines().nth(file.line_at(word.start) - 1).unwrap_or_default();
            if file.path == "src/lib.rs" && line.trim() == r#"#[path = "../backends/mod.rs"]"# {
                wanted += 1;
            } else {
                complaints.push(file.complaint(word.start, "a second way into another directory"));
            }
        }
    }
    if wanted != 1 {
        complaints.push(format!("src/lib.rs: reaches backends/ by {wanted} `#[path]`, not by 1"));
    }
    complaints
}

pub fn protocol_in_backends(files: &[File]) -> Vec<String> {
    const MODULES: [&str; 2] = ["exchange", "server"];
    let mut complaints = word_in(files, &["backends"], &["Envelope"]);
    for file in files.iter().filter(|f| f.is_in(&["backends"])) {
        for word in paths_through(file, &["crate"], &MODULES) {
            let what = format!("uses `crate::{}`", word.text);
            complaints.push(file.complaint(word.start, &what));
        }
    }
    complaints
}

pub fn backends_importing_one_another(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_in(&["backends"]) && f.path != "backends/mod.rs") {
        let unit = unit_of(file);
        let shared = SHARED.iter().any(|(name, _)| *name == unit);
        if !shared && !BACKENDS.contains(&unit) {
            complaints.push(
                file.complaint(0, "is it a backend, or shared? Name it in tests/tidy/rules.rs"),
            );
        }
        let mut foreign: Vec<&str> = BACKENDS.into_iter().filter(|name| *name != unit).collect();
        for (name, users) in SHARED {
            if name != unit && !users.contains(&unit) {
                foreign.push(name);
            }
        }
        for word in paths_through(file, &["super", "backends"], &foreign) {
            let what = format!("{unit} uses {}", word.text);
            complaints.push(file.complaint(word.start, &what));
        }
    }
    complaints
}

/// The one file that may know what mio does with a pipe inside.
const MIO_PIPE: &str = "backends/named_pipe/mio_pipe.rs";

pub fn pipes_of_mios_elsewhere(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_in(&["backends"]) && f.path != MIO_PIPE) {
        for word in file.words().into_iter().filter(|w| w.text == "NamedPipe") {
            complaints.push(file.complaint(word.start, "names mio's `NamedPipe`"));
        }
    }
    complaints
}

pub fn unsafe_without_reason(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_in(&["backends", "benches"])) {
        let lines: Vec<&str> = file.text.lines().collect();
        for word in file.words().into_iter().filter(|w| w.text == "unsafe") {
            let line = file.line_at(word.start) - 1;
            let near = &lines[line.saturating_sub(SAFETY_LINES)..=line];
            let is_told = near.iter().any(|l| l.contains("// SAFETY:"))
                || docs_above(&lines, line).any(|l| l.contains("# Safety"));
            if !is_told && !is_function_type(&file.code, word) {
                complaints.push(file.complaint(word.start, "`unsafe` without `// SAFETY:`"));
            }
        }
    }
    complaints
}

pub fn sleeps_in_tests(files: &[File]) -> Vec<String> {
    word_in(files, &["tests"], &["sleep", "sleep_ms", "sleep_until"])
}

/// Time is read in one place of `src/`, so that a simulation has a clock of its own. Tests may have any, and tokio has its own.
const CLOCKS: [&str; 2] = ["src/clock.rs", "src/simulation/"];

pub fn clocks_of_their_own(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let is_test = |f: &File| {
        let name = f.path.rsplit('/').next().unwrap_or_default();
        f.path.contains("/proof/")
            || f.path.contains("_tests/")
            || name.ends_with("tests.rs")
            || name == "scene.rs"
    };
    let is_clock = |f: &File| CLOCKS.iter().any(|clock| f.path.starts_with(clock));
    let read = |f: &&File| f.is_in(&["src"]) || f.path.starts_with("backends/memory/");
    for file in files.iter().filter(read).filter(|f| !is_clock(f) && !is_test(f)) {
        let end = file.code.find("mod tests {").unwrap_or(file.code.len());
        for word in words(&file.code[..end]) {
            let before = &file.code[..word.start];
            let is_read = word.text == "now"
                && before.ends_with("Instant::")
                && !before.ends_with("tokio::time::Instant::");
            if is_read || word.text == "elapsed" && before.ends_with('.') {
                complaints
                    .push(file.complaint(word.start, "reads a clock that is not crate::clock"));
            }
        }
    }
    complaints
}

pub fn left_overs(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for needle in ["#[ignore", "todo!(", "unimplemented!(", "dbg!(", "allow(unused"] {
            for (start, _) in file.code.match_indices(needle) {
                complaints.push(file.complaint(start, &format!("`{needle}`")));
            }
        }
        for (index, line) in file.text.lines().enumerate() {
            if line.contains(concat!("FIX", "ME")) {
                complaints.push(format!("{}:{}: not finished", file.path, index + 1));
            }
        }
        complaints.extend(word_in(std::slice::from_ref(file), &[], &["dead_code"]));
    }
    complaints
}

pub fn long_files(files: &[File]) -> Vec<String> {
    let long = |f: &&File| f.text.lines().count() > MOST_LINES;
    let complaint = |f: &File| format!("{}:{}: goes on", f.path, MOST_LINES + 1);
    files.iter().filter(long).map(complaint).collect()
}

pub fn files_without_purpose(files: &[File]) -> Vec<String> {
    let rooms = ["src", "backends", "examples"];
    let bare = |f: &&File| f.is_in(&rooms) && !f.text.starts_with("//!");
    files.iter().filter(bare).map(|f| f.complaint(0, "does not begin with `//!`")).collect()
}

/// Directories with fewer Rust files than known: a rule that reads no files proves nothing.
pub fn missing_files(files: &[File], least: &[(&str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (room, least) in least {
        let seen = files.iter().filter(|f| f.is_in(&[room])).count();
        if seen < *least {
            complaints.push(format!("{room}: {seen} Rust files seen, {least} expected"));
        }
    }
    complaints
}

/// The value of `key = "value"` in a TOML file, as major.minor.
pub fn minor_version<'a>(toml: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let line = toml.lines().find_map(|l| l.strip_prefix(key)?.trim_start().strip_prefix('='))?;
    let mut parts = line.split('"').nth(1)?.split('.');
    Some((parts.next()?, parts.next()?))
}

/// Every use of one of these words in code; no rooms means everywhere.
fn word_in(files: &[File], rooms: &[&str], forbidden: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| rooms.is_empty() || f.is_in(rooms)) {
        for word in file.words().into_iter().filter(|w| forbidden.contains(&w.text)) {
            complaints.push(file.complaint(word.start, &format!("`{}`", word.text)));
        }
    }
    complaints
}

/// Places that reach one of `names` through one of `roots`: `root::name`, or both in one `use`.
fn paths_through<'a>(file: &'a File, roots: &[&str], names: &[&str]) -> Vec<Word<'a>> {
    let all = file.words();
    let mut found = Vec::new();
    let mut used_until = 0;
    let mut root_used = false;
    for (index, word) in all.iter().enumerate() {
        if word.text == "use" && !after(&file.code, *word).starts_with('<') {
            let end = file.code[word.start..].find(';').map_or(file.code.len(), |n| word.start + n);
            used_until = end;
            root_used = words(&file.code[word.start..end]).iter().any(|w| roots.contains(&w.text));
        }
        let in_use = word.start < used_until && root_used;
        let behind_root = index > 0
            && roots.contains(&all[index - 1].text)
            && after(&file.code, all[index - 1]).starts_with("::");
        if names.contains(&word.text) && (in_use || behind_root) {
            found.push(*word);
        }
    }
    found
}

/// The directory or file right under backends/ that this file belongs to.
fn unit_of(file: &File) -> &str {
    let name = file.path.split('/').nth(1).unwrap_or_default();
    name.strip_suffix(".rs").unwrap_or(name)
}

fn after<'a>(code: &'a str, word: Word<'_>) -> &'a str {
    code[word.start + word.text.len()..].trim_start()
}

/// The code between the parenthesis at its beginning and the matching one.
fn in_parentheses(code: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    code
}

/// The comment and attribute lines right above this line.
fn docs_above<'a>(lines: &'a [&'a str], line: usize) -> impl Iterator<Item = &'a str> {
    let above = lines[..line].iter().rev().copied();
    above.take_while(|l| l.trim_start().starts_with("//") || l.trim_start().starts_with("#["))
}

/// `unsafe extern "system" fn(…)` as a type: it needs no SAFETY comment.
fn is_function_type(code: &str, word: Word<'_>) -> bool {
    let rest = after(code, word);
    let rest = rest.strip_prefix("extern").unwrap_or(rest).trim_start();
    rest.strip_prefix("fn").is_some_and(|r| r.trim_start().starts_with('('))
}
