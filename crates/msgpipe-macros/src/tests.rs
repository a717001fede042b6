//! What does not compile, and with which words; what the attribute makes is tested with msgpipe itself.

use super::{Options, expand};
use crate::number::number;
use syn::parse_quote;

/// The error of a trait.
#[track_caller]
fn refused(item: &str) -> String {
    let options = Options { name: None, path: parse_quote!(::msgpipe) };
    let item = syn::parse_str(item).expect("it is a trait");
    expand(&options, item).expect_err("it is refused").to_string()
}

/// The error of a method.
#[track_caller]
fn of_method(method: &str) -> String {
    refused(&format!("trait Notes {{ {method} }}"))
}

#[test]
fn two_methods_with_one_number_are_refused_by_name() {
    let twice = of_method("fn one(&self); #[name = \"Notes.one\"] fn two(&self);");
    assert!(twice.contains("`Notes.one` and `Notes.one` have the same number"), "{twice}");
    // Two names of one hash.
    assert_eq!(number("Notes.bwmpdadu"), number("Notes.akotspvt"));
    let same = of_method("fn bwmpdadu(&self); fn akotspvt(&self);");
    assert!(same.contains("`Notes.akotspvt` and `Notes.bwmpdadu` have the same number"), "{same}");
    let describe = of_method("#[name = \"msgpipe.describe\"] fn describe(&self);");
    assert!(describe.contains("#[name"), "{describe}");
}

#[test]
fn names_of_msgpipe_are_kept() {
    assert!(refused("trait msgpipe { fn describe(&self); }").contains("kept for msgpipe"));
    let options = Options { name: Some("msgpipe.more".into()), path: parse_quote!(::msgpipe) };
    assert!(
        expand(
            &options,
            parse_quote!(
                trait Notes {}
            )
        )
        .is_err()
    );
}

#[test]
fn what_cannot_be_a_method_is_refused_with_what_to_do() {
    for (method, words) in [
        ("async fn a(&self);", "no `async fn`"),
        ("fn a();", "takes `&self`"),
        ("fn a(&mut self);", "takes `&self`"),
        ("fn a(self);", "takes `&self`"),
        ("fn a<T>(&self, t: T);", "no generics"),
        ("fn a(&self, text: &str);", "`String` for `&str`"),
        ("fn a(&self, (x, y): (u8, u8));", "a plain name"),
        ("fn a(&self) -> Result<u8>;", "both types of a `Result`"),
        ("fn a(&self) -> io::Result<u8>;", "both types of a `Result`"),
        ("fn a(&self) -> impl Display;", "`impl Iterator<Item = …>`"),
        ("fn a(&self, i: Incoming);", "its type is missing"),
        ("fn a(&self, i: Incoming<u8>, p: Progress<u8>);", "one argument of"),
        ("fn a(&self, p: Progress<u8>) -> impl Iterator<Item = u8>;", "returns no iterator"),
        ("fn a(&self, s: Subscriber<u8>) -> u8;", "returns nothing"),
        ("#[one_way] fn a(&self) -> u8;", "returns nothing"),
        ("#[one_way] fn a(&self, i: Incoming<u8>);", "its arguments only"),
        ("#[idempotent] fn a(&self, i: Incoming<u8>);", "`#[idempotent]`"),
        ("fn new(&self);", "a method `new` of its own"),
        ("#[cfg(unix)] fn a(&self);", "depend on `cfg`"),
        ("#[name(\"x\")] fn a(&self);", "#[name"),
        ("const A: u8;", "methods only"),
        ("type A;", "methods only"),
        (
            "fn a(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8);",
            "put them into a struct",
        ),
    ] {
        let error = of_method(method);
        assert!(error.contains(words), "{method}: {error}");
    }
    assert!(refused("trait Notes<T> { fn a(&self); }").contains("no generics"));
}

#[test]
fn eight_arguments_beside_the_others_are_taken() {
    let options = Options { name: None, path: parse_quote!(::msgpipe) };
    let item = parse_quote! {
        trait Notes {
            fn a(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: Incoming<u8>, x: &Context);
        }
    };
    expand(&options, item).expect("it is a service");
}

#[test]
fn the_number_is_that_of_fnv_1a() {
    assert_eq!(number(""), 0x811c_9dc5);
    assert_eq!(number("Notes.add"), 0xf7a6_1617);
    assert_eq!(number("N.pxicbhvn"), 0xffff_feff);
    assert_eq!(number("N.kscmaihk"), 0xffff_fe00);
    assert_eq!(number("N.yiyrails"), 0xffff_feff);
}
