//! A look at MessagePack before it is decoded: whether it is one whole value, and how deep it goes.
//!
//! A decoder recurses into what it decodes; the one that is used counts arrays and maps, but not the variants of a
//! recursive enum. This look does not recurse, and allocates nothing.

/// Arrays and maps inside each other, at most: what JSON's decoder allows, and more than data for people has. Each takes
/// some KiB of the stack of a thread while it is decoded.
pub const NESTING_MAX: usize = 128;

/// The bytes are one value, nested not too deeply.
///
/// # Errors
/// What is wrong.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    // How many values are missing at each level.
    let mut open = [0_u64; NESTING_MAX];
    let mut depth = 0;
    loop {
        let (inside, values) = value(&mut rest).ok_or("the bytes end inside a value")?;
        if inside {
            // Each value takes a byte at least.
            if values > rest.len() as u64 {
                return Err(format!(
                    "{values} values are announced, and {} bytes follow",
                    rest.len()
                ));
            }
            if depth == NESTING_MAX {
                return Err(format!(
                    "more than {NESTING_MAX} arrays and maps are inside each other"
                ));
            }
            open[depth] = values;
            depth += 1;
        }
        while depth > 0 && open[depth - 1] == 0 {
            depth -= 1;
        }
        match depth {
            0 if rest.is_empty() => return Ok(()),
            0 => return Err(format!("{} bytes follow the value", rest.len())),
            _ => open[depth - 1] -= 1,
        }
    }
}

/// Takes a value off, or the head of an array or a map: then how many values are in it. `None`: it is not whole.
fn value(rest: &mut &[u8]) -> Option<(bool, u64)> {
    let marker = number(rest, 1)?;
    let (is_container, count) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (false, 0),
        0x80..=0x8f => (true, (marker & 0xf) * 2),
        0x90..=0x9f => (true, marker & 0xf),
        0xa0..=0xbf => (false, marker & 0x1f),
        0xc4 | 0xd9 => (false, number(rest, 1)?),
        0xc5 | 0xda => (false, number(rest, 2)?),
        0xc6 | 0xdb => (false, number(rest, 4)?),
        // With a byte for the type.
        0xc7 => (false, number(rest, 1)? + 1),
        0xc8 => (false, number(rest, 2)? + 1),
        0xc9 => (false, number(rest, 4)? + 1),
        0xcc | 0xd0 => (false, 1),
        0xcd | 0xd1 => (false, 2),
        0xca | 0xce | 0xd2 => (false, 4),
        0xcb | 0xcf | 0xd3 => (false, 8),
        0xd4..=0xd8 => (false, (1 << (marker - 0xd4)) + 1),
        0xdc => (true, number(rest, 2)?),
        0xdd => (true, number(rest, 4)?),
        0xde => (true, number(rest, 2)? * 2),
        0xdf => (true, number(rest, 4)? * 2),
        // 0xc1 is never used.
        _ => return None,
    };
    if is_container {
        return Some((true, count));
    }
    *rest = rest.get(usize::try_from(count).ok()?..)?;
    Some((false, 0))
}

/// A number of so many bytes.
fn number(rest: &mut &[u8], bytes: usize) -> Option<u64> {
    let (number, others) = rest.split_at_checked(bytes)?;
    *rest = others;
    Some(number.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,3}", inner, 0..20).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn one_whole_value_passes_and_nothing_less_or_more(value in any_value()) {
            let mut bytes = rmp_serde::to_vec_named(&value).unwrap();
            prop_assert_eq!(check(&bytes), Ok(()));
            let end = bytes.len() - 1;
            prop_assert!(check(&bytes[..end]).is_err());
            bytes.push(0);
            prop_assert!(check(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_checked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if check(&bytes).is_ok() {
                prop_assert!(!bytes.is_empty());
            }
        }
    }

    #[test]
    fn the_limit_of_nesting_is_exact() {
        for (depth, passes) in
            [(NESTING_MAX - 1, true), (NESTING_MAX, true), (NESTING_MAX + 1, false)]
        {
            let mut bytes = vec![0x91; depth];
            bytes.push(0xc0);
            assert_eq!(check(&bytes).is_ok(), passes, "{depth}");
        }
        assert!(check(&[0x90; 200]).is_err());
    }

    #[test]
    fn what_is_announced_and_cannot_be_there_is_refused() {
        for head in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            &[0xc6, 0xff, 0xff, 0xff, 0xff],
            &[0xc9, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(check(&[head, &[0; 100]].concat()).is_err(), "{head:?}");
        }
    }
}
