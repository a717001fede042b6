//! What a server says of itself, and the file that a test compares with it.

use super::common::{NotesClient, NotesServer, Serving, Store};
use msgpipe::typed::{self, Interface, Shape, TypeDescription, compat, number};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::panic::catch_unwind;

#[test]
fn a_server_describes_its_methods_in_json() {
    let (store, _told) = Store::new();
    Serving::each(NotesServer::new(store), |serving| {
        let json = serving.client().with_method(msgpipe::monitor::DESCRIBE).call("").unwrap();
        let described = Interface::from_json(std::str::from_utf8(&json).unwrap()).unwrap();
        assert_eq!(described, Interface::of::<NotesClient>());
        assert_eq!(described, NotesClient::new(serving.client()).caller().describe().unwrap());
        let import = &described.methods["Notes.import"];
        assert_eq!((import.number, import.kind.as_str()), (number("Notes.import"), "upload"));
        assert_eq!(import.sends, Some(Shape::Type("Note".into())));
        assert_eq!(import.arguments[0].name, "first");
        assert!(described.methods["Notes.get"].idempotent && !import.idempotent);
        assert!(described.methods.contains_key("Notes.old_name"));
    });
}

/// The file of the service of these tests. See `check_interface` for how it is written anew.
#[test]
fn the_golden_file_is_kept() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/typed_cases/notes.json");
    typed::check_interface::<NotesClient>(file);
}

mod types {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    pub struct Everything {
        pub number: Option<NonZeroU32>,
        pub map: HashMap<String, Vec<f64>>,
        pub tuple: (u8, char, ()),
        #[serde(default)]
        pub has_default: i128,
        pub tree: Tree,
        pub list: Option<Box<Everything>>,
        pub stubborn: Option<Stubborn>,
        pub address: std::net::IpAddr,
        #[serde(rename = "other")]
        pub renamed: bool,
        pub wrapped: Wrapped,
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub enum Tree {
        Node(Box<Tree>, Box<Tree>),
        Inner {
            trees: Vec<Tree>,
            first: Box<Tree>,
        },
        Value(Vec<u8>),
        #[default]
        Leaf,
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Wrapped(u16);

    /// A type that takes only what it likes.
    #[derive(Debug, Default, Serialize)]
    pub struct Stubborn;

    impl<'d> Deserialize<'d> for Stubborn {
        fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Stubborn, D::Error> {
            match String::deserialize(deserializer)?.as_str() {
                "please" => Ok(Stubborn),
                _ => Err(serde::de::Error::custom("say please")),
            }
        }
    }

    /// One that panics.
    #[derive(Debug, Default, Serialize)]
    pub struct Panics;

    impl<'d> Deserialize<'d> for Panics {
        fn deserialize<D: Deserializer<'d>>(_: D) -> Result<Panics, D::Error> {
            panic!("it was asked to")
        }
    }

    /// Another type of the same name.
    pub mod other {
        use super::*;

        #[derive(Debug, Default, Serialize, Deserialize)]
        pub struct Wrapped {
            pub same_name: super::Wrapped,
            pub tree: u8,
        }
    }

    #[typed::service]
    pub trait Types {
        fn all(&self, all: Everything) -> Result<Everything, String>;
        fn panics(&self, panics: Panics) -> ();
        fn names(&self, tuple: (other::Wrapped, Everything)) -> ();
    }
}

fn plain(name: &str) -> Shape {
    Shape::Plain(name.into())
}

#[test]
fn shapes_are_found_out_also_of_types_inside_themselves() {
    let described = Interface::of::<types::TypesClient>();
    let TypeDescription::Struct(fields) = &described.types["Everything"] else { panic!() };
    let shape = |name: &str| (fields[name].shape.clone(), fields[name].optional);
    assert_eq!(shape("number"), (Shape::Option(Box::new(plain("u32"))), true));
    let floats = Shape::List(Box::new(plain("f64")));
    assert_eq!(shape("map"), (Shape::Map(Box::new((plain("string"), floats))), false));
    let tuple = vec![plain("u8"), plain("char"), plain("null")];
    assert_eq!(shape("tuple"), (Shape::Tuple(tuple), false));
    assert_eq!(shape("has_default"), (plain("i128"), true));
    assert_eq!(shape("tree"), (Shape::Type("Tree".into()), false));
    assert_eq!(shape("list"), (Shape::Option(Box::new(Shape::Type("Everything".into()))), true));
    assert_eq!(shape("stubborn"), (Shape::Option(Box::new(plain("string"))), true));
    assert_eq!(shape("address"), (plain("string"), false));
    assert_eq!(shape("other"), (plain("bool"), false));
    assert_eq!(shape("wrapped"), (plain("u16"), false));
    let TypeDescription::Enum(variants) = &described.types["Tree"] else { panic!() };
    assert_eq!(
        variants.keys().map(String::as_str).collect::<Vec<_>>(),
        ["Inner", "Leaf", "Node", "Value"]
    );
    let tree = Shape::Type("Tree".into());
    let typed::Variant::Tuple(both) = &variants["Node"] else { panic!("{variants:?}") };
    assert_eq!(both[..], [tree.clone(), tree.clone()]);
    let typed::Variant::Struct(inner) = &variants["Inner"] else { panic!("{variants:?}") };
    assert_eq!(inner["trees"].shape, Shape::List(Box::new(tree)));
    assert_eq!(described.methods["Types.panics"].arguments[0].field.shape, plain("any"));
    // It is written and read again.
    assert_eq!(Interface::from_json(&described.to_json()).unwrap(), described);
    assert_eq!(compat(&described, &described), []);
}

#[test]
fn the_test_of_one_line_fails_with_what_is_broken() {
    #[typed::service(name = "Notes")]
    trait Later {
        fn get(&self, id: u64, must: bool) -> Result<String, String>;
    }
    struct Nothing;
    impl Later for Nothing {
        fn get(&self, _: u64, _: bool) -> Result<String, String> {
            Ok(String::new())
        }
    }
    let _ = LaterServer::new(Nothing);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("interface.json");
    let check = |file: std::path::PathBuf| {
        let failed = catch_unwind(|| typed::check_interface::<LaterClient>(file)).unwrap_err();
        failed.downcast_ref::<String>().unwrap().clone()
    };
    assert!(check(file.clone()).contains("MSGPIPE_INTERFACE=write"));
    std::fs::write(&file, "{").unwrap();
    assert!(check(file.clone()).contains("is no interface"));
    std::fs::write(&file, Interface::of::<NotesClient>().to_json()).unwrap();
    let broken = check(file.clone());
    assert!(broken.contains("Notes.get: argument must: it has to be there"), "{broken}");
    assert!(broken.contains("Notes.add: method: it was removed"), "{broken}");
    std::fs::write(&file, Interface::of::<LaterClient>().to_json()).unwrap();
    typed::check_interface::<LaterClient>(&file);
}

#[test]
fn an_interface_is_read_from_json_or_is_an_error() {
    for bad in ["", "{}", "[]", r#"{"services": [], "methods": 7}"#] {
        Interface::from_json(bad).unwrap_err();
    }
    let empty = Interface::from_json(r#"{"services": [], "methods": {}}"#).unwrap();
    assert_eq!((empty.types, empty.methods), (BTreeMap::new(), BTreeMap::new()));
}
