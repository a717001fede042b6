//! Two versions of a service, each as client of the other, in both codecs: what is changed works, or is an error that names method,
//! codec and place.

use super::common::Serving;
use msgpipe::typed::{self, CallError, Codec, Interface, Mismatch, What, compat};
use serde::{Deserialize, Serialize};

mod old {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub struct Item {
        pub name: String,
        pub amount: u32,
        pub removed: bool,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub enum Colour {
        Red,
        Green { dark: bool },
    }

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    pub enum Problem {
        #[error("nothing")]
        Nothing,
    }

    impl typed::ServiceError for Problem {}

    #[typed::service(name = "Shop")]
    pub trait Shop {
        fn put(&self, item: Item, into: String) -> Result<Item, Problem>;
        fn colours(&self, asked: Colour) -> Result<Colour, Problem>;
        fn removed(&self) -> u8;
        fn old_name(&self, number: u32) -> u32;
        fn fails(&self) -> Result<(), Problem>;
        fn all(&self) -> impl Iterator<Item = Item>;
    }

    pub fn item() -> Item {
        Item { name: "old".into(), amount: 1, removed: true }
    }

    pub struct Selling;

    impl Shop for Selling {
        fn put(&self, item: Item, into: String) -> Result<Item, Problem> {
            assert_eq!(into, "shelf");
            Ok(item)
        }
        fn colours(&self, asked: Colour) -> Result<Colour, Problem> {
            Ok(asked)
        }
        fn removed(&self) -> u8 {
            1
        }
        fn old_name(&self, number: u32) -> u32 {
            number
        }
        fn fails(&self) -> Result<(), Problem> {
            Err(Problem::Nothing)
        }
        fn all(&self) -> impl Iterator<Item = Item> {
            [item()].into_iter()
        }
    }
}

/// Arguments and methods are in another order, too.
mod new {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub struct Item {
        pub added: Option<Vec<String>>,
        #[serde(default)]
        pub flag: u8,
        pub amount: u32,
        pub name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub enum Colour {
        Blue(u8),
        Green { dark: bool },
        Red,
    }

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    pub enum Problem {
        #[error("something of {size}")]
        Something { size: u32 },
        #[error("nothing")]
        Nothing,
    }

    impl typed::ServiceError for Problem {
        fn code(&self) -> u16 {
            300
        }
    }

    #[typed::service(name = "Shop")]
    pub trait Market {
        fn added(&self) -> u8;
        fn all(&self) -> impl Iterator<Item = Item>;
        fn colours(&self, asked: Colour) -> Result<Colour, Problem>;
        #[name = "Shop.old_name"]
        fn new_name(&self, number: u64) -> u64;
        fn fails(&self) -> Result<(), Problem>;
        fn put(&self, into: String, urgent: Option<bool>, item: Item) -> Result<Item, Problem>;
    }

    pub fn item() -> Item {
        Item { added: Some(vec!["x".into()]), flag: 1, amount: 2, name: "new".into() }
    }

    pub struct Selling;

    impl Market for Selling {
        fn added(&self) -> u8 {
            2
        }
        fn all(&self) -> impl Iterator<Item = Item> {
            [item()].into_iter()
        }
        fn colours(&self, asked: Colour) -> Result<Colour, Problem> {
            Ok(if asked == Colour::Red { Colour::Blue(7) } else { asked })
        }
        fn new_name(&self, number: u64) -> u64 {
            number
        }
        fn fails(&self) -> Result<(), Problem> {
            Err(Problem::Something { size: 7 })
        }
        fn put(&self, into: String, urgent: Option<bool>, item: Item) -> Result<Item, Problem> {
            assert_eq!((into.as_str(), urgent), ("shelf", None));
            Ok(item)
        }
    }
}

use new::{MarketClient, MarketServer};
use old::{ShopClient, ShopServer};

/// It names what it has to.
#[track_caller]
fn mismatch<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, CallError<E>>,
    what: What,
    method: &str,
    codec: Codec,
    place: &str,
) -> Mismatch {
    let Err(CallError::Mismatch(found)) = result else { panic!("{result:?}") };
    assert_eq!((found.what(), found.method(), found.place()), (what, method, place), "{found}");
    let text = found.to_string();
    for word in [method, &codec.to_string(), place] {
        assert!(text.contains(word), "{word} in {text}");
    }
    *found
}

const CODECS: [Codec; 2] = [Codec::MessagePack, Codec::Json];

#[test]
fn an_old_client_at_a_new_server() {
    Serving::each(MarketServer::new(new::Selling), |serving| {
        for codec in CODECS {
            let old = ShopClient::new(serving.client()).with_codec(codec);
            // Of the new reply the old client lacks a field.
            let gone = old.put(old::item(), "shelf".into());
            let gone = mismatch(gone, What::Reply, "Shop.put", codec, "");
            assert!(gone.to_string().contains("removed"), "{gone}");
            assert_eq!(old.old_name(u32::MAX).unwrap(), u32::MAX);
            assert_eq!(
                old.colours(old::Colour::Green { dark: true }).unwrap(),
                old::Colour::Green { dark: true }
            );
            let blue = old.colours(old::Colour::Red);
            assert!(
                mismatch(blue, What::Reply, "Shop.colours", codec, "").to_string().contains("Blue")
            );
            let Err(CallError::Mismatch(removed)) = old.removed() else { panic!() };
            assert!(
                removed.to_string().contains("Shop.removed: the server does not serve this method"),
                "{removed}"
            );
            // A new error arrives with its code and text.
            let something = mismatch(old.fails(), What::Error, "Shop.fails", codec, "");
            let reply = something.reply().unwrap();
            assert_eq!((reply.code, reply.text.as_str()), (300, "something of 7"));
            mismatch(old.all().unwrap().next().unwrap(), What::Reply, "Shop.all", codec, "");
        }
    });
}

#[test]
fn a_new_client_at_an_old_server() {
    Serving::each(ShopServer::new(old::Selling), |serving| {
        for codec in CODECS {
            let new = MarketClient::new(serving.client()).with_codec(codec);
            let missing = new.put("shelf".into(), Some(true), new::item());
            let missing = mismatch(missing, What::Arguments, "Shop.put", codec, "item");
            assert!(missing.to_string().contains("removed"), "{missing}");
            assert_eq!(new.new_name(7).unwrap(), 7);
            mismatch(new.new_name(u64::MAX), What::Arguments, "Shop.old_name", codec, "number");
            assert_eq!(new.colours(new::Colour::Red).unwrap(), new::Colour::Red);
            mismatch(
                new.colours(new::Colour::Blue(1)),
                What::Arguments,
                "Shop.colours",
                codec,
                "asked",
            );
            let Err(CallError::Mismatch(added)) = new.added() else { panic!() };
            assert_eq!((added.what(), added.method()), (What::Method, "Shop.added"));
            let Err(CallError::Application(nothing)) = new.fails() else { panic!() };
            assert_eq!(nothing, new::Problem::Nothing);
            let all: Result<Vec<_>, _> = new.all().unwrap().collect();
            let expected = new::Item { added: None, flag: 0, amount: 1, name: "old".into() };
            assert_eq!(all.unwrap(), [expected]);
        }
    });
}

/// What `compat` says is what happened above.
#[test]
fn compat_says_so_before() {
    let (old, new) = (Interface::of::<ShopClient>(), Interface::of::<MarketClient>());
    let mut breaks: Vec<String> = compat(&old, &new).iter().map(ToString::to_string).collect();
    breaks.sort();
    let missing = "it has to be there, and the other side does not send it";
    let expected = [
        format!("Shop.all: item.removed: {missing} (an old client, a new server)"),
        "Shop.old_name: argument number: u64 is sent, and u32 is expected (a new client, an old server)".to_owned(),
        "Shop.old_name: reply: u64 is sent, and u32 is expected (an old client, a new server)".to_owned(),
        format!("Shop.put: argument item.removed: {missing} (a new client, an old server)"),
        format!("Shop.put: reply.removed: {missing} (an old client, a new server)"),
        "Shop.removed: method: it was removed (an old client, a new server)".to_owned(),
    ];
    assert_eq!(breaks, expected);
}
