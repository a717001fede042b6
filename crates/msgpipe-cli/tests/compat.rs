//! What `compat` finds, and how deep it looks: descriptions may come from anyone.

mod common;

use common::{run, scratch};
use msgpipe::typed::{Interface, compat};
use serde_json::{Value, json};
use std::fs;

/// A service of one method, of these types.
fn service(number: u32, argument: Value, types: Value) -> Value {
    let method = json!({ "number": number, "kind": "call", "arguments": [argument] });
    json!({ "services": ["Shop"], "methods": { "Shop.put": method }, "types": types })
}

/// One whose argument is a structure with a field.
fn with_field(shape: Value, optional: bool) -> Value {
    let field = json!({ "shape": shape, "optional": optional });
    let argument = json!({ "name": "item", "shape": { "type": "Item" } });
    service(7, argument, json!({ "Item": { "struct": { "size": field } } }))
}

fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let read = |it: &Value| Interface::from_json(&it.to_string()).unwrap();
    compat(&read(old), &read(new)).iter().map(ToString::to_string).collect()
}

#[test]
fn what_may_be_left_out_must_not_become_what_has_to_be_there() {
    let size = json!({ "plain": "u32" });
    let (may, must) = (with_field(size.clone(), true), with_field(size.clone(), false));
    let said = "Shop.put: argument item.size: it may be left out, and has to be there";
    assert_eq!(breaks(&may, &must), [format!("{said} (an old client, a new server)")]);
    assert_eq!(breaks(&must, &may), [format!("{said} (a new client, an old server)")]);
    assert_eq!(breaks(&may, &may), [""; 0]);
    // An option is said once, as before.
    let option = with_field(json!({ "option": size }), true);
    let said = breaks(&option, &must);
    assert!(said.len() == 1 && said[0].contains("it may be null"), "{said:?}");
}

#[test]
fn an_argument_that_has_to_be_there_now_is_found_too() {
    let argument =
        |optional: bool| json!({ "name": "a", "shape": { "plain": "u32" }, "optional": optional });
    let (may, must) =
        (service(7, argument(true), json!({})), service(7, argument(false), json!({})));
    assert_eq!(breaks(&may, &must).len(), 1);
}

#[test]
fn a_number_that_has_changed_is_a_break() {
    let argument = json!({ "name": "a", "shape": { "plain": "u32" } });
    let numbered = |number| service(number, argument.clone(), json!({}));
    let said = "Shop.put: method: its number was 7, and is 8 (an old client, a new server)";
    assert_eq!(breaks(&numbered(7), &numbered(8)), [said]);
    assert_eq!(breaks(&numbered(7), &numbered(7)), [""; 0]);
}

/// Types that are inside each other: as many as `depth`, with what the last one is.
fn nested(depth: usize, last: &str) -> Value {
    let name = |index: usize| format!("T{index}");
    let mut types = serde_json::Map::new();
    // The last shape is plain.
    for index in 1..depth {
        let shape = match index + 1 == depth {
            true => json!({ "plain": last }),
            false => json!({ "type": name(index + 1) }),
        };
        types.insert(name(index), json!({ "struct": { "f": { "shape": shape } } }));
    }
    service(7, json!({ "name": "a", "shape": { "type": name(1) } }), Value::Object(types))
}

#[test]
fn descriptions_are_compared_to_a_depth() {
    for (depth, is_compared) in [(127, true), (128, true), (129, false)] {
        let same = breaks(&nested(depth, "u8"), &nested(depth, "u8"));
        assert_eq!(same.is_empty(), is_compared, "{depth}: {same:?}");
        let said = breaks(&nested(depth, "string"), &nested(depth, "u8"));
        let words = if is_compared { "string is sent" } else { "more than 128 deep" };
        assert!(said.len() == 2 && said[0].contains(words), "{depth}: {said:?}");
    }
}

/// A hundred thousand types inside each other would need a stack as deep.
#[test]
fn the_deepest_description_is_an_error_and_no_crash() {
    let directory = scratch("deep");
    let path = directory.join("deep.json");
    fs::write(&path, nested(100_000, "u8").to_string()).unwrap();
    let path = path.to_str().unwrap();
    let (status, said, errors) = run(&["compat", path, path], b"");
    assert_eq!(status, 1, "{errors}");
    assert!(said.contains("more than 128 deep, and was not compared"), "{said}");
    // JSON itself has a depth.
    let lists =
        format!("{}{{\"plain\":\"u8\"}}{}", "{\"list\":".repeat(10_000), "}".repeat(10_000));
    let deep = service(7, json!({ "name": "a", "shape": "HERE" }), json!({})).to_string();
    fs::write(path, deep.replace("\"HERE\"", &lists)).unwrap();
    let (status, _, errors) = run(&["compat", path, path], b"");
    assert_eq!(status, 2, "{errors}");
    fs::remove_dir_all(directory).unwrap();
}
