//! Tests of the rules: each finds its violations, and nothing else.

use super::circles::circles;
use super::passing::not_passed_on;
use super::rules::*;
use super::source::{File, words};

type Rule = fn(&[File]) -> Vec<String>;

fn complaints(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
    rule(&files)
}

/// Each text, as this file, breaks the rule at its line 2; not one line of `fine` does.
fn finds(rule: Rule, path: &str, broken: &[&str], fine: &[&str]) {
    for line in broken {
        let found = complaints(rule, &[(path, &format!("//! Text.\n{line}\n"))]);
        let at = format!("{path}:2: ");
        assert!(found.iter().any(|c| c.starts_with(&at)), "`{line}` is not found: {found:?}");
    }
    let fine = format!("//! Text.\n{}\n", fine.join("\n"));
    assert_eq!(complaints(rule, &[(path, &fine)]), [""; 0], "in:\n{fine}");
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = r###"a // b
        /* c /* d */ e */ f "g \" h" 'i' '\'' '\u{6a}' b"k" r"l\" m r#"n " o"# br##"p"# q"## r#s 't"###;
    let code = File::new("src/a.rs", text).code;
    let left: Vec<&str> = words(&code).iter().map(|w| w.text).collect();
    assert_eq!(left, ["a", "f", "b", "m", "b", "r", "s", "t"], "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn operating_systems() {
    let broken = [
        "#[cfg(windows)] fn f() {}",
        "#[cfg(all(test, not(unix)))] fn f() {}",
        "#[cfg_attr(target_os = \"linux\", inline)] fn f() {}",
        "fn f() -> bool { cfg!(target_family = \"unix\") }",
        "use mio::Token;",
        "use {libc, std::fs};",
        "use std::os::fd::AsRawFd;",
        "fn f() { windows_sys::call(); }",
    ];
    let fine = [
        "#[cfg(test)] mod tests {}",
        "// mio::Poll and cfg(windows) are in backends/",
        "const TEXT: &str = \"#[cfg(windows)] libc::read\";",
        "fn windows(items: &[u8]) { items.windows(2); let os = 1; }",
    ];
    finds(os_in_src, "src/a.rs", &broken, &fine);
    assert!(complaints(os_in_src, &[("backends/a.rs", broken[0])]).is_empty());
}

#[test]
fn unsafe_code() {
    let broken = ["fn f() { unsafe { g() } }", "unsafe impl Send for A {}"];
    let fine = ["#![forbid(unsafe_code)]", "// unsafe", "const A: &str = \"unsafe\";"];
    finds(unsafe_outside_backends, "src/a.rs", &broken, &fine);
    finds(unsafe_outside_backends, "tests/a.rs", &broken, &fine);

    let broken = ["fn f() { unsafe { g() } }", "unsafe fn f() {}"];
    let fine = [
        "type F = unsafe extern \"system\" fn(u32);",
        "/// # Safety\n/// 1\n/// 2\n/// 3\n/// 4\n/// 5\n/// 6\n#[inline]\nunsafe fn f() {}",
        "// SAFETY: `g` asks for nothing.\nlet a =\n    unsafe { g() };",
    ];
    finds(unsafe_without_reason, "backends/a.rs", &broken, &fine);
    let far = format!("// SAFETY: too far away.\n{}unsafe {{}}", "\n".repeat(6));
    assert_eq!(complaints(unsafe_without_reason, &[("backends/a.rs", &far)]).len(), 1);
}

#[test]
fn clocks() {
    let broken =
        ["fn f() { Instant::now(); }", "const A: F = std::time::Instant::now;", "a.elapsed();"];
    let fine =
        ["fn f() { clock::now(); } // Instant::now()", "mod tests { fn f() { Instant::now(); } }"];
    finds(clocks_of_their_own, "src/a.rs", &broken, &fine);
    finds(clocks_of_their_own, "backends/memory/a.rs", &broken, &fine);
    for path in ["src/clock.rs", "src/a/tests.rs", "backends/a.rs"] {
        assert!(complaints(clocks_of_their_own, &[(path, broken[0])]).is_empty(), "{path}");
    }
}

#[test]
fn modules_and_paths() {
    let lib = "//! Text.\n#[path = \"../backends/mod.rs\"]\nmod backends;\npub mod a;\nmod b;\n";
    let good = "//! Text.\n#![forbid(unsafe_code)]\n";
    let forbid: Rule = modules_without_forbid;
    let files = [("src/lib.rs", lib), ("src/a.rs", good), ("src/b/mod.rs", good)];
    assert_eq!(complaints(forbid, &files), [""; 0]);
    let files = [("src/lib.rs", lib), ("src/a.rs", good), ("src/b/mod.rs", "//! None.\n")];
    assert_eq!(complaints(forbid, &files).len(), 1);
    assert_eq!(complaints(forbid, &[("src/lib.rs", lib), ("src/a.rs", good)]).len(), 1);
    assert_eq!(complaints(forbid, &[("src/lib.rs", "mod a { }")]).len(), 1);
    assert_eq!(complaints(forbid, &[]).len(), 1);

    let paths: Rule = path_attributes;
    assert_eq!(complaints(paths, &[("src/lib.rs", lib)]), [""; 0]);
    assert_eq!(complaints(paths, &[("src/lib.rs", "mod a;")]).len(), 1);
    let other =
        "//! Text.\n#[cfg_attr(test, path = \"x.rs\")]\nmod a;\nfn f() { g(1, path = 2) }\n";
    assert_eq!(complaints(paths, &[("src/lib.rs", lib), ("src/a.rs", other)]).len(), 1);
    let other = "//! Text.\n#[path = \"x.rs\"]\nmod a;\n";
    assert_eq!(complaints(paths, &[("src/lib.rs", lib), ("backends/mod.rs", other)]).len(), 1);
}

#[test]
fn directories_of_backends() {
    let broken = [
        "use crate::exchange::Table;",
        "use crate::{error::Error, server::Server};",
        "fn f() { crate::server::run(); }",
        "fn f(_: Envelope) {}",
    ];
    let fine = ["use crate::message_server::Event;", "let server = 1; let exchange = server;"];
    finds(protocol_in_backends, "backends/memory/mod.rs", &broken, &fine);

    let rule: Rule = backends_importing_one_another;
    let broken = [
        "use super::super::named_pipe::Pipe;",
        "use crate::backends::{memory, unix_socket::Listener};",
        "fn f() { crate::backends::memory::open(); }",
        "use super::super::os::Listener;",
    ];
    let fine = [
        "use super::event_loop::Loop;",
        "use std::os::fd::AsRawFd;",
        "let memory = 1; let (a, memory) = f(memory);",
    ];
    finds(rule, "backends/unix_socket/listener.rs", &broken, &fine);
    finds(rule, "backends/event_loop/mod.rs", &broken, &["use crate::limits::Limits;"]);
    finds(rule, "backends/memory.rs", &["use super::event_loop::Loop;"], &["use super::x;"]);
    assert_eq!(complaints(rule, &[("backends/fourth/mod.rs", "//! Text.")]).len(), 1);
    assert_eq!(complaints(rule, &[("backends/mod.rs", "mod memory; use memory::A;")]), [""; 0]);

    let broken = ["use mio::windows::NamedPipe;", "fn f(pipe: mio::windows::NamedPipe) {}"];
    let fine = ["use mio::Token;", "// NamedPipe", "CreateNamedPipeW(name);"];
    finds(pipes_of_mios_elsewhere, "backends/named_pipe/listener.rs", &broken, &fine);
}

#[test]
fn files_that_import_each_other() {
    let lib = ("src/lib.rs", "mod a; mod b; pub use b::B;");
    let both = |a: &str, b: &str| complaints(circles, &[lib, ("src/a.rs", a), ("src/b.rs", b)]);
    for (a, b) in [
        ("use crate::b::B;", "use crate::a::A;"),
        ("use crate::B;", "use super::a;"),
        ("use super::{b::{self, c}, x};", "fn f(_: crate::a::A) {}"),
        ("use {std::fmt, crate::b as other};", "mod inner { fn f() { super::super::a::f() } }"),
        ("use crate::{\n    b::B as C,\n};", "use super::a::*;"),
        ("use super::B;", "pub use self::inner::A; mod inner { pub use crate::a::A; }"),
    ] {
        let found = both(a, b);
        assert_eq!(found.len(), 1, "{a} {b}: {found:?}");
        assert!(
            found[0].starts_with("src/a.rs:1: ") && found[0].contains("src/b.rs:1 "),
            "{found:?}"
        );
    }
    for (a, b) in [
        ("use crate::b::B;", "// crate::a::A"),
        ("use crate::b::B;", "use std::a; use b::A; fn f() { other::a::f() }"),
        ("use crate::b::B;", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
        ("use crate::{B, b::C};", "use crate::B;"),
    ] {
        assert_eq!(both(a, b), [""; 0], "{a} {b}");
    }

    // What a `mod.rs` hands on counts for the file behind it, and a module for what it is made of.
    let room = |one: &str| {
        let files = [
            ("tests/t.rs", "mod room { mod inner; }\n#[path = \"t/far.rs\"]\nmod far;"),
            ("tests/room/inner/mod.rs", "mod one; mod two; pub use two::Two; fn f() { one::g() }"),
            ("tests/room/inner/one.rs", one),
            ("tests/room/inner/two.rs", "use super::one::One;"),
            ("tests/t/far.rs", "use crate::room::inner::Two;"),
        ];
        complaints(circles, &files)
    };
    assert_eq!(room("use super::f;"), [""; 0]);
    assert_eq!(room("use super::Two;").len(), 1);
    assert_eq!(room("use crate::far::Far; use super::super::inner::f;"), [""; 0]);
}

#[test]
fn unfinished_code() {
    let unfinished = concat!("// FIX", "ME: later");
    let broken = [
        "#[ignore = \"slow\"] #[test] fn f() {}",
        "fn f() { todo!() }",
        "fn f() { dbg!(1); }",
        "#[allow(dead_code)] fn f() {}",
        unfinished,
    ];
    let fine = ["fn f() { g(\"todo!(\"); } // dbg!(1)", "let ignore = 1;"];
    finds(left_overs, "benches/a.rs", &broken, &fine);

    let broken = ["fn f() { std::thread::sleep(A); }", "use std::thread::sleep;"];
    finds(sleeps_in_tests, "tests/a.rs", &broken, &["// sleep(1)", "let sleeper = 1;"]);
    assert!(complaints(sleeps_in_tests, &[("examples/a.rs", broken[0])]).is_empty());
}

#[test]
fn shape_of_files() {
    let lines = |n: usize| format!("//! Text.\n{}", "\n".repeat(n - 1));
    for (count, found) in [(399, 0), (400, 0), (401, 1)] {
        for path in ["src/a.rs", "tests/a/b.rs"] {
            assert_eq!(complaints(long_files, &[(path, &lines(count))]).len(), found);
        }
    }
    let rule: Rule = files_without_purpose;
    assert_eq!(complaints(rule, &[("src/a.rs", "use a;")]).len(), 1);
    assert_eq!(complaints(rule, &[("examples/a.rs", "//! Text.\nuse a;")]), [""; 0]);

    let files = [File::new("src/a.rs", "")];
    assert_eq!(missing_files(&files, &[("src", 1)]), [""; 0]);
    assert_eq!(missing_files(&files, &[("src", 2), ("tests", 1)]).len(), 2);
}

#[test]
fn versions() {
    assert_eq!(minor_version("a = \"1\"\nmsrv = \"1.85.0\"\n", "msrv"), Some(("1", "85")));
    assert_eq!(minor_version("msrv-other = \"1.2\"", "msrv"), None);
}

#[test]
fn methods_that_are_not_passed_on() {
    let whole = ("pub trait MessageServer {", "macro_rules! forward_to_inner {");
    let checked = |one: &str, other: &str| {
        let (all, forward) = whole;
        let first =
            format!("{all}\n fn a();\n /// fn x\n fn b() {{}}\n}}\n{forward}\n {one}\n}}\n");
        let second = format!("impl MessageServer for Passing<M, B> {{\n {other}\n}}\nfn b() {{}}");
        let files = [("src/message_server.rs", &*first), ("tests/passing/mod.rs", &*second)];
        complaints(not_passed_on, &files)
    };
    assert_eq!(checked("fn a() {} fn b() {}", "fn b() {} fn a() {}"), [""; 0]);
    assert_eq!(checked("fn a() {}", "fn a() {} fn b() {}"), ["src/message_server.rs: `b`"]);
    assert_eq!(checked("fn a() {} fn b() {}", "fn a() {}"), ["tests/passing/mod.rs: `b`"]);
    assert_eq!(complaints(not_passed_on, &[]), ["src/message_server.rs: the trait is not there"]);
}
