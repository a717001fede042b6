//! The guide, `docs/guide`: its code is compiled and run as tests of the documentation.
//!
//! A chapter that needs a feature is tested only with it. `tests/guide.rs` checks that no chapter is missing.
#![forbid(unsafe_code)]

#[doc = include_str!("../docs/guide/src/first.md")]
struct First;

#[doc = include_str!("../docs/guide/src/errors.md")]
struct Errors;

#[doc = include_str!("../docs/guide/src/streams.md")]
struct Streams;

#[cfg(feature = "tokio")]
#[doc = include_str!("../docs/guide/src/async.md")]
struct Async;

#[cfg(feature = "typed")]
#[doc = include_str!("../docs/guide/src/typed.md")]
struct Typed;

#[cfg(all(feature = "tokio", feature = "typed"))]
#[doc = include_str!("../docs/guide/src/typed-use.md")]
struct TypedUse;

#[doc = include_str!("../docs/guide/src/security.md")]
struct Security;

#[doc = include_str!("../docs/guide/src/limits.md")]
struct Limits;

#[doc = include_str!("../docs/guide/src/testing.md")]
struct Testing;

#[doc = include_str!("../docs/guide/src/starting.md")]
struct Starting;

#[doc = include_str!("../docs/guide/src/protocols.md")]
struct Protocols;

#[doc = include_str!("../docs/guide/src/protocols-more.md")]
struct ProtocolsMore;

#[doc = include_str!("../docs/guide/src/children.md")]
struct Children;

#[doc = include_str!("../docs/guide/src/gui.md")]
struct Gui;

#[cfg(all(feature = "tokio", feature = "typed"))]
#[doc = include_str!("../docs/guide/src/from-tarpc.md")]
struct FromTarpc;

#[doc = include_str!("../docs/guide/src/from-interprocess.md")]
struct FromInterprocess;

#[doc = include_str!("../docs/guide/src/from-win32.md")]
struct FromWin32;
