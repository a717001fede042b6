//! Whole endpoints against hostile peers: the inputs of the fuzzer's corpus again, and a number of random ones.

mod corpus;
mod endpoint_cases;

use proptest::prelude::*;

/// An input: bytes that are small more often than not, so that choices come at all.
fn inputs() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => 0..32_u8, 2 => any::<u8>()];
    prop::collection::vec(byte, 0..400)
}

proptest! {
    #[test]
    fn a_server_keeps_its_promises_whatever_its_clients_send(bytes in inputs()) {
        endpoint_cases::server::check(&bytes);
    }

    #[test]
    fn a_client_keeps_its_promises_whatever_its_server_sends(bytes in inputs()) {
        endpoint_cases::client::check(&bytes);
    }

    #[test]
    fn a_name_leads_to_one_place_or_to_a_named_error(bytes in inputs()) {
        endpoint_cases::names::check(&bytes);
    }

    #[test]
    fn no_principal_gives_access_to_another(bytes in inputs()) {
        endpoint_cases::sddl::check(&bytes);
    }
}

proptest! {
    #[test]
    fn what_tools_and_examples_read_has_one_meaning(bytes in inputs()) {
        endpoint_cases::values::check(&bytes);
    }
}

#[cfg(feature = "tokio")]
proptest! {
    #[test]
    fn an_async_client_keeps_its_promises_whatever_its_server_sends(bytes in inputs()) {
        endpoint_cases::tokio_client::check(&bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_still_passes() {
    corpus::replay("server", endpoint_cases::server::check);
    corpus::replay("client", endpoint_cases::client::check);
    #[cfg(feature = "tokio")]
    corpus::replay("tokio_client", endpoint_cases::tokio_client::check);
    corpus::replay("names", endpoint_cases::names::check);
    corpus::replay("sddl", endpoint_cases::sddl::check);
    corpus::replay("values", endpoint_cases::values::check);
}
