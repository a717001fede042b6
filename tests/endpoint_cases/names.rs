//! Names of endpoints, by the rules of every system: what is taken leads to one place, and to the same one again.

use super::script::Script;
use msgpipe::endpoint::{Runtime, SocketAddress};
use msgpipe::{Endpoint, NAME_MAX, NameError};
use std::path::Path;

/// The endpoints that `bytes` describe.
pub fn check(bytes: &[u8]) {
    let script = &mut Script::new(bytes);
    let text = text(script);
    name(&text, script);
    pipe(&text, script);
    path(&text, script);
    abstract_name(&text);
    for error in [
        Endpoint::name(&text).err(),
        Endpoint::pipe(&text).err(),
        Endpoint::path(&text).err(),
        Endpoint::abstract_name(&text).err(),
    ] {
        let is_one_line = |error: &NameError| !error.to_string().contains(['\n', '\0', '\u{1b}']);
        assert!(error.as_ref().is_none_or(is_one_line), "{error:?}");
    }
}

/// The rule, in other words than in the crate.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(is_inner)
        && text.len() <= NAME_MAX
}

fn name(text: &str, script: &mut Script<'_>) {
    let endpoint = Endpoint::name(text);
    assert_eq!(endpoint.is_ok(), is_name(text), "{text:?}");
    assert_eq!(text.parse::<Endpoint>(), endpoint);
    assert_eq!(Endpoint::try_from(text), endpoint);
    let Ok(endpoint) = endpoint else { return };
    let shown = endpoint.to_string();
    assert_eq!(shown, text.to_lowercase());
    assert_eq!(Endpoint::name(&shown).as_ref(), Ok(&endpoint), "what is shown is the same name");
    // On Windows.
    let sid = script.of(&["S-1-5-18", "S-1-5-21-3623811015-3361044348-30300820-1013"]);
    let pipe = endpoint.pipe_name(sid).expect("every name of every user fits into a pipe's");
    assert_eq!(pipe, format!(r"\\.\pipe\{shown}.{sid}"));
    let exact = Endpoint::pipe(&pipe).expect("the pipe of a name is one");
    assert_eq!(exact.pipe_name("S-1-5-7"), Ok(pipe));
    // On Unix.
    let directory = script.of(&["/run/user/1000/msgpipe", "/", "relative", ""]);
    let path_max = usize::from(script.byte());
    let mut runtime = Runtime::new(path_max);
    assert!(endpoint.socket_address(runtime).is_err(), "there is no directory for it");
    runtime.directory = Some(Path::new(directory));
    let expected = Path::new(directory).join(format!("{shown}.sock"));
    let fits = expected.as_os_str().len() <= path_max;
    match endpoint.socket_address(runtime) {
        Ok(SocketAddress::File { path, private }) => {
            assert!(fits);
            assert_eq!(path.parent(), Some(Path::new(directory)), "no name leads elsewhere");
            assert_eq!((path, private.as_deref()), (expected, Some(Path::new(directory))));
        }
        other => assert!(!fits && matches!(other, Err(NameError::TooLong { .. })), "{other:?}"),
    }
}

fn pipe(text: &str, script: &mut Script<'_>) {
    let prefix = script.of(&["", r"\\.\pipe\", r"\\.\PIPE\", r"\\server\pipe\", r"\\.\pipe"]);
    let text = format!("{prefix}{text}");
    let rest = text.get(9..).filter(|_| text[..9].eq_ignore_ascii_case(r"\\.\pipe\"));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(['\\', '/', '\0']) && text.encode_utf16().count() <= 256
    });
    let endpoint = Endpoint::pipe(&text);
    assert_eq!(endpoint.is_ok(), fits, "{text:?}: {endpoint:?}");
    let Ok(endpoint) = endpoint else { return };
    assert_eq!(endpoint.to_string(), text);
    assert_eq!(endpoint.pipe_name("S-1-5-18"), Ok(text));
    let elsewhere = endpoint.socket_address(Runtime::new(107));
    assert!(matches!(elsewhere, Err(NameError::NotHere { .. })));
}

fn path(text: &str, script: &mut Script<'_>) {
    let endpoint = Endpoint::path(text);
    assert_eq!(endpoint.is_ok(), !text.is_empty() && !text.contains('\0'), "{text:?}");
    assert_eq!(Endpoint::try_from(Path::new(text)), endpoint);
    let Ok(endpoint) = endpoint else { return };
    let path_max = usize::from(script.byte());
    match endpoint.socket_address(Runtime::new(path_max)) {
        Ok(address) => {
            assert!(text.len() <= path_max);
            assert_eq!(address, SocketAddress::File { path: text.into(), private: None });
        }
        Err(error) => assert!(text.len() > path_max, "{error}"),
    }
    assert!(matches!(endpoint.pipe_name("S-1-5-18"), Err(NameError::NotHere { .. })));
}

fn abstract_name(text: &str) {
    let endpoint = Endpoint::abstract_name(text);
    let fits = !text.is_empty() && !text.contains('\0') && text.len() <= 107;
    assert_eq!(endpoint.is_ok(), fits, "{text:?}");
    let Ok(endpoint) = endpoint else { return };
    assert_eq!(endpoint.to_string(), format!("@{text}"));
    let mut runtime = Runtime::new(107);
    assert!(matches!(endpoint.socket_address(runtime), Err(NameError::NotHere { .. })));
    runtime.has_abstract = true;
    assert_eq!(endpoint.socket_address(runtime), Ok(SocketAddress::Abstract(text.to_owned())));
    assert!(endpoint.pipe_name("S-1-5-18").is_err());
}

/// A name, mostly, with lengths beside the limits.
fn text(script: &mut Script<'_>) -> String {
    let mut text =
        script.of(&["", "com.example.notes", "Notes", "/run/notes", "a", ".."]).to_owned();
    if script.is() {
        let limit = script.of(&[NAME_MAX, 107, 247, 256]);
        let more = (limit + 1).saturating_sub(text.len() + script.below(3));
        text.push_str(&script.of(&["n", "N", "ä"]).repeat(more));
    }
    if script.once_in(4) {
        text.push_str(script.of(&["\0", "/", "\\", " ", "ä", "😀", "-", "_", "\n", "\u{1b}", "İ"]));
    }
    if script.once_in(4) {
        text.push_str(&script.text(60));
    }
    text
}
