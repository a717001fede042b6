//! Security descriptors of any access: no text of a principal becomes more than one entry, and nobody has access who was not
//! named.

use super::script::Script;
use msgpipe::{Access, Principal, SddlError};

const SYSTEM: &str = "S-1-5-18";

/// A legal security identifier.
struct Sid(String);

/// The descriptor that `bytes` describe.
pub fn check(bytes: &[u8]) {
    let script = &mut Script::new(bytes);
    let owner = if script.once_in(4) { SYSTEM.to_owned() } else { text(script) };
    let access = match script.below(5) {
        0 => Access::Owner,
        1 => Access::Everyone,
        2 => {
            let sddl = (!script.once_in(8))
                .then(|| [script.of(&["", "O:", " O:", "D:"]), &script.text(30)].concat());
            Access::Custom { sddl, mode: None }
        }
        _ => Access::Only((0..script.below(6)).map(|_| principal(script)).collect()),
    };
    let made = access.sddl(&owner);
    let Some(owner) = Sid::of(&owner) else {
        assert_eq!(made, Err(SddlError::NotASid { text: owner }));
        return;
    };
    match access {
        Access::Owner => expect(made, &owner, &[]),
        Access::Everyone => expect(made, &owner, &[Sid("S-1-1-0".to_owned())]),
        Access::Only(principals) => {
            let sids = principals.iter().filter_map(|it| match it {
                Principal::Sid(sid) => Some(sid),
                _ => None,
            });
            match sids.clone().find(|sid| Sid::of(sid).is_none()) {
                Some(bad) => assert_eq!(made, Err(SddlError::NotASid { text: bad.clone() })),
                None => {
                    expect(made, &owner, &sids.filter_map(|sid| Sid::of(sid)).collect::<Vec<_>>())
                }
            }
        }
        Access::Custom { sddl: None, .. } => assert_eq!(made, Err(SddlError::Missing)),
        Access::Custom { sddl: Some(given), .. } => {
            let made = made.expect("what is given is not read");
            let has_owner = given.trim_start().starts_with("O:");
            assert_eq!(made, if has_owner { given } else { format!("O:{}{given}", owner.0) });
        }
        _ => unreachable!("there are no others"),
    }
}

/// The owner's entry, LocalSystem's, and one for each of the others, and nothing else. Read by hand, not made again.
#[track_caller]
fn expect(made: Result<String, SddlError>, owner: &Sid, others: &[Sid]) {
    let made = made.expect("all identifiers are legal");
    let rest = made.strip_prefix(&format!("O:{}D:P(", owner.0)).expect("the owner is named first");
    let mut entries = rest.strip_suffix(')').expect("an entry").split(")(").map(|entry| {
        let fields: Vec<&str> = entry.split(';').collect();
        let [kind, flags, rights, object, inherited, who] = fields[..] else {
            panic!("no entry: {entry:?}")
        };
        assert_eq!((kind, flags, object, inherited), ("A", "", "", ""), "{made}");
        (rights, who)
    });
    assert_eq!(entries.next(), Some(("GA", &*owner.0)));
    if owner.0 != SYSTEM {
        assert_eq!(entries.next(), Some(("GA", "SY")));
    }
    let others = others.iter().map(|sid| ("0x12019b", &*sid.0));
    assert!(entries.eq(others), "{made}");
}

impl Sid {
    /// By its grammar in [MS-DTYP], 2.4.2.1, without the hexadecimal form, and with at least one sub-authority.
    fn of(text: &str) -> Option<Sid> {
        let mut numbers = text.get(1..)?.strip_prefix('-')?.split('-');
        let is_s = text.starts_with(['s', 'S']);
        let number = |text: &str| {
            text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse::<u128>().ok())?
        };
        let is_first = numbers.next() == Some("1");
        let authority = number(numbers.next()?)?;
        let rest: Option<Vec<u128>> = numbers.map(number).collect();
        let rest = rest?;
        let fits = authority < 1 << 48 && (1..=15).contains(&rest.len());
        let fits = fits && rest.iter().all(|number| *number < 1 << 32);
        (is_s && is_first && fits).then(|| Sid(text.to_owned()))
    }
}

fn principal(script: &mut Script<'_>) -> Principal {
    match script.below(6) {
        0 => Principal::Uid(script.u32()),
        1 => Principal::Gid(script.u32()),
        _ => Principal::Sid(text(script)),
    }
}

/// A text that is a security identifier, mostly.
fn text(script: &mut Script<'_>) -> String {
    let mut text = script
        .of(&["S-1-5", "S-1-5", "s-1-5", "S-1-281474976710655", "S-01-5", "S-2-1"])
        .to_owned();
    let count = script.of(&[1, 1, 1, 2, 5, 15, 16, 0]);
    for _ in 0..count {
        let number = script.of(&["21", "1001", "4294967295", "4294967296", "0", "18", "007", ""]);
        text = format!("{text}-{number}");
    }
    if script.once_in(4) {
        text.push_str(script.of(&[")(A;;GA;;;WD", "\0", "-", " ", ";", "(", "٣", "\n"]));
    }
    if script.once_in(8) {
        text = script.text(40);
    }
    text
}
